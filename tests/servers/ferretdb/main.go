// ferretdb is a server that speaks MongoDB's protocol, for tests: FerretDB over a PostgreSQL of the test's.
//
// It prints its URI once it listens, and runs until SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "the address to listen on")
	postgresql := flag.String("postgresql", "", "the URL of the PostgreSQL database that keeps the documents")
	flag.Parse()
	if err := serve(*listen, *postgresql); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func serve(listen, postgresql string) error {
	if postgresql == "" {
		return fmt.Errorf("-postgresql is missing: the URL of a PostgreSQL database")
	}
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:      ferretdb.ListenerConfig{TCP: listen},
		Handler:       "postgresql",
		PostgreSQLURL: postgresql,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	fmt.Println(server.MongoDBURI())
	return server.Run(ctx)
}
