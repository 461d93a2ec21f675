"""A client in Python: signs up, places an order by gRPC and watches it until it is confirmed.

client.py HOST:PORT PRODUCT
"""

import json
import sys
import uuid

import grpc
from google.rpc import error_details_pb2, status_pb2
from meshwork.orders.v1 import orders_pb2, orders_pb2_grpc
from meshwork.products.v1 import products_pb2, products_pb2_grpc
from meshwork.users.v1 import auth_pb2, auth_pb2_grpc, users_pb2, users_pb2_grpc

TIMEOUT = 30
PASSWORD = "correct horse battery"


def main(address: str, product: str) -> None:
    with grpc.insecure_channel(address) as channel:
        email = f"python-{uuid.uuid4()}@example.com"
        user = users_pb2.User(email=email, display_name="Python", password=PASSWORD)
        users_pb2_grpc.UserServiceStub(channel).CreateUser(users_pb2.CreateUserRequest(user=user), timeout=TIMEOUT)
        credentials = auth_pb2.SignInRequest(email=email, password=PASSWORD)
        session = auth_pb2_grpc.AuthServiceStub(channel).SignIn(credentials, timeout=TIMEOUT)
        metadata = [("authorization", f"Bearer {session.access_token}")]

        orders = orders_pb2_grpc.OrderServiceStub(channel)
        order = orders_pb2.Order(lines=[orders_pb2.Order.Line(product=product, quantity=2)])
        request = orders_pb2.CreateOrderRequest(order=order, request_id=str(uuid.uuid4()))
        placed = orders.CreateOrder(request, metadata=metadata, timeout=TIMEOUT)
        states = []
        watch = orders.WatchOrder(orders_pb2.WatchOrderRequest(name=placed.name), metadata=metadata, timeout=TIMEOUT)
        for update in watch:
            states.append(orders_pb2.Order.State.Name(update.order.state))
            if update.order.state == orders_pb2.Order.STATE_CONFIRMED:
                watch.cancel()
                break

        code, reason = None, None
        try:
            products = products_pb2_grpc.ProductServiceStub(channel)
            products.GetProduct(products_pb2.GetProductRequest(name="products/no-such-mug"), timeout=TIMEOUT)
        except grpc.RpcError as error:
            code, reason = error.code().name, reason_of(error)
        print(json.dumps({
            "order": placed.name,
            "states": states,
            "total": str(placed.total.units),
            "code": code,
            "reason": reason,
        }))


def reason_of(error: grpc.RpcError) -> str | None:
    """The reason that an error's `ErrorInfo` gives."""
    for key, value in error.trailing_metadata():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info.reason
    return None


if __name__ == "__main__":
    main(*sys.argv[1:])
