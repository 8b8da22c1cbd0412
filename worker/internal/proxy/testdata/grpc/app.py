"""A gRPC server, and a client of it, without TLS and without generated code: messages are bytes.

serve             listens on a port of loopback, and says which
call HOST:PORT    makes one call of each kind, and says what came back
"""

import concurrent.futures
import sys

import grpc


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            "/echo.Echo/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/echo.Echo/Download": grpc.unary_stream_rpc_method_handler(self.download),
            "/echo.Echo/Upload": grpc.stream_unary_rpc_method_handler(self.upload),
            "/echo.Echo/Talk": grpc.stream_stream_rpc_method_handler(self.talk),
            "/echo.Echo/Fail": grpc.unary_unary_rpc_method_handler(self.fail),
        }.get(details.method)

    def unary(self, request, context):
        context.set_trailing_metadata([("checksum", str(len(request)))])
        return request

    def download(self, request, context):
        for i in range(3):
            yield request + b"%d" % i

    def upload(self, requests, context):
        return b"".join(requests)

    def talk(self, requests, context):
        for request in requests:
            yield request.upper()

    def fail(self, request, context):
        context.abort(grpc.StatusCode.ALREADY_EXISTS, "it is there")


def serve():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers([Echo()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"Running on 127.0.0.1:{port}", flush=True)
    server.wait_for_termination()


def call(address):
    with grpc.insecure_channel(address) as channel:
        answer, rpc = channel.unary_unary("/echo.Echo/Unary").with_call(b"hello", timeout=20)
        print("unary", answer.decode(), dict(rpc.trailing_metadata())["checksum"])
        print("download", *(part.decode() for part in channel.unary_stream("/echo.Echo/Download")(b"x", timeout=20)))
        print("upload", channel.stream_unary("/echo.Echo/Upload")(iter([b"a", b"b"]), timeout=20).decode())
        answered = []

        def questions():  # each one is asked after the answer to the one before
            for word in [b"one", b"two", b"three"]:
                yield word
                while not answered or answered[-1] != word.upper():
                    pass

        for answer in channel.stream_stream("/echo.Echo/Talk")(questions(), timeout=20):
            answered.append(answer)
        print("talk", *(answer.decode() for answer in answered))
        try:
            channel.unary_unary("/echo.Echo/Fail")(b"", timeout=20)
        except grpc.RpcError as error:
            print("fail", error.code().name, error.details())


if sys.argv[1] == "serve":
    serve()
else:
    call(sys.argv[2])
