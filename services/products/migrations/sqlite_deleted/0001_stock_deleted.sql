-- The stock of a deleted product says so itself. A release that doesn't know the column leaves it empty, so that the
-- product is asked as well.
ALTER TABLE stock ADD COLUMN deleted_at INTEGER;
UPDATE stock SET deleted_at = (SELECT deleted_at FROM product WHERE id = stock.product);
