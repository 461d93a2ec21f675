module meshwork.test/pause

go 1.24
