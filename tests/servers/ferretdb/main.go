// ferretdb is a server that speaks MongoDB's protocol, for tests: FerretDB over a PostgreSQL of the test's, or over
// SQLite.
//
// It prints its URI once it listens, and runs until SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "the address to listen on")
	postgresql := flag.String("postgresql", "", "the URL of the PostgreSQL database that keeps the documents")
	sqlite := flag.String("sqlite", "", "the folder that keeps the documents in SQLite files")
	flag.Parse()
	if err := serve(*listen, *postgresql, *sqlite); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func serve(listen, postgresql, sqlite string) error {
	config := &ferretdb.Config{Listener: ferretdb.ListenerConfig{TCP: listen}}
	switch {
	case postgresql != "" && sqlite == "":
		config.Handler, config.PostgreSQLURL = "postgresql", postgresql
	case sqlite != "" && postgresql == "":
		config.Handler, config.SQLiteURL = "sqlite", "file:"+strings.TrimSuffix(sqlite, "/")+"/"
	default:
		return fmt.Errorf("one of -postgresql, the URL of a database, and -sqlite, a folder, must be given")
	}
	server, err := ferretdb.New(config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	fmt.Println(server.MongoDBURI())
	return server.Run(ctx)
}
