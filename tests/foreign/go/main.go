// A client in Go: signs up, places an order by gRPC and watches it until it is confirmed.
//
// client HOST:PORT PRODUCT
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	orders "meshwork.test/client/gen/meshwork/orders/v1"
	products "meshwork.test/client/gen/meshwork/products/v1"
	users "meshwork.test/client/gen/meshwork/users/v1"
)

const password = "correct horse battery"

func main() {
	if len(os.Args) != 3 {
		log.Fatalf("usage: %s HOST:PORT PRODUCT", os.Args[0])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address, product string) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()

	stamp := time.Now().UnixNano()
	email := fmt.Sprintf("go-%d@example.com", stamp)
	user := &users.User{Email: email, DisplayName: "Go", Password: password}
	if _, err := users.NewUserServiceClient(conn).CreateUser(ctx, &users.CreateUserRequest{User: user}); err != nil {
		return fmt.Errorf("sign up: %w", err)
	}
	session, err := users.NewAuthServiceClient(conn).SignIn(ctx, &users.SignInRequest{Email: email, Password: password})
	if err != nil {
		return fmt.Errorf("sign in: %w", err)
	}
	signedIn := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+session.GetAccessToken())

	client := orders.NewOrderServiceClient(conn)
	order := &orders.Order{Lines: []*orders.Order_Line{{Product: product, Quantity: 2}}}
	placed, err := client.CreateOrder(signedIn, &orders.CreateOrderRequest{Order: order})
	if err != nil {
		return fmt.Errorf("place the order: %w", err)
	}
	states, err := watch(signedIn, client, placed.GetName())
	if err != nil {
		return fmt.Errorf("watch the order: %w", err)
	}

	_, err = products.NewProductServiceClient(conn).GetProduct(ctx, &products.GetProductRequest{Name: "products/no-such-mug"})
	told := status.Convert(err)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"order":  placed.GetName(),
		"states": states,
		"total":  fmt.Sprint(placed.GetTotal().GetUnits()),
		"code":   rpcCode(told),
		"reason": reason(told),
	})
}

// watch returns the states of an order until it is confirmed.
func watch(ctx context.Context, client orders.OrderServiceClient, name string) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.WatchOrder(ctx, &orders.WatchOrderRequest{Name: name})
	if err != nil {
		return nil, err
	}
	var states []string
	for {
		update, err := stream.Recv()
		if err != nil {
			return nil, fmt.Errorf("after %v: %w", states, err)
		}
		states = append(states, update.GetOrder().GetState().String())
		if update.GetOrder().GetState() == orders.Order_STATE_CONFIRMED {
			return states, nil
		}
	}
}

// rpcCode is the code as the contracts spell it.
func rpcCode(told *status.Status) string {
	if told.Code().String() == "NotFound" {
		return "NOT_FOUND"
	}
	return told.Code().String()
}

// reason is that of the error's ErrorInfo.
func reason(told *status.Status) string {
	for _, detail := range told.Proto().GetDetails() {
		info := new(errdetails.ErrorInfo)
		if detail.UnmarshalTo(info) == nil {
			return info.GetReason()
		}
	}
	return ""
}
