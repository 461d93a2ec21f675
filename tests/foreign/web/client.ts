// A client in a page: signs up, places an order and watches it until it is confirmed.

import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb";
import { Order_State, OrderService } from "./gen/meshwork/orders/v1/orders_pb";
import { ProductService } from "./gen/meshwork/products/v1/products_pb";
import { AuthService } from "./gen/meshwork/users/v1/auth_pb";
import { UserService } from "./gen/meshwork/users/v1/users_pb";

const PASSWORD = "correct horse battery";

async function order(gateway: string, product: string, protocol: string) {
  let token = "";
  const signedIn: Interceptor = (next) => (request) => {
    if (token) {
      request.header.set("authorization", `Bearer ${token}`);
    }
    return next(request);
  };
  const options = { baseUrl: gateway, interceptors: [signedIn], defaultTimeoutMs: 30_000 };
  const transport =
    protocol === "connect"
      ? createConnectTransport({ ...options, useHttpGet: true })
      : createGrpcWebTransport(options);

  const email = `${protocol}-${crypto.randomUUID()}@example.com`;
  await createClient(UserService, transport).createUser({ user: { email, displayName: "Page", password: PASSWORD } });
  const session = await createClient(AuthService, transport).signIn({ email, password: PASSWORD });
  token = session.accessToken;

  const orders = createClient(OrderService, transport);
  const placed = await orders.createOrder({ order: { lines: [{ product, quantity: 2n }] } });
  const states: string[] = [];
  for await (const update of orders.watchOrder({ name: placed.name })) {
    const state = update.order?.state ?? Order_State.UNSPECIFIED;
    states.push(`STATE_${Order_State[state]}`);
    if (state === Order_State.CONFIRMED) {
      break;
    }
  }

  let told: ConnectError | undefined;
  try {
    await createClient(ProductService, transport).getProduct({ name: "products/no-such-mug" });
  } catch (error) {
    told = ConnectError.from(error);
  }
  return {
    order: placed.name,
    states,
    total: String(placed.total?.units),
    code: told?.code === Code.NotFound ? "NOT_FOUND" : String(told?.code),
    reason: told?.findDetails(ErrorInfoSchema)[0]?.reason,
  };
}

Object.assign(window, { order });
