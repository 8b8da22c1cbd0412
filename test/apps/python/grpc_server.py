"""A gRPC server without TLS and without generated code: messages are bytes. Its argument is the port."""

import concurrent.futures
import sys

import grpc


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/echo.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/echo.Echo/Talk": grpc.stream_stream_rpc_method_handler(self.talk),
        }.get(details.method)

    def unary(self, request, context):
        context.set_trailing_metadata([("length", str(len(request)))])
        return request

    def talk(self, requests, context):
        for request in requests:
            yield request.upper()


server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8))
server.add_generic_rpc_handlers([Echo()])
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
server.wait_for_termination()
