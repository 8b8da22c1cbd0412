"""One client of each application, as its users have it. Arguments: which, and the URL of the service. Prints as JSON what it saw.

It comes over the tailnet by the proxy in its environment, and trusts the authorities that are named there.
"""

import email.header
import json
import os
import queue
import subprocess
import sys
import tempfile
import urllib.parse


def websocket(url):
    from websockets.sync.client import connect

    with connect(f"{url}/who".replace("https:", "wss:"), origin=url) as socket:
        [(name, charset)] = email.header.decode_header(socket.recv())
        return {"displayName": name.decode(charset)}


def redirect(url):
    import requests

    response = requests.get(f"{url}/docs", allow_redirects=False, timeout=20)
    return {"location": response.headers["location"]}


def form(url):
    import requests

    browser = requests.Session()
    page = browser.get(f"{url}/form/", timeout=20)
    if page.status_code != 200:
        return {"get": page.status_code}
    token = page.text.split('value="')[1].split('"')[0]
    answer = browser.post(
        f"{url}/form/",
        {"csrfmiddlewaretoken": token, "name": "anna"},
        headers={"Origin": url, "Referer": f"{url}/form/"},
        timeout=20,
    )
    return {"get": page.status_code, "post": answer.status_code}


def jupyter(url):
    import requests
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    browser = requests.Session()
    page = browser.get(f"{url}/login", params={"token": "secret"}, timeout=20)
    if page.status_code != 200:
        return {"page": page.status_code}
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)
    try:
        with connect(f"{url}/api/events/subscribe".replace("https:", "wss:"), origin=url, additional_headers={"Cookie": cookies}):
            return {"page": page.status_code, "webSocket": 101}
    except InvalidStatus as refused:
        return {"page": page.status_code, "webSocket": refused.response.status_code}


def registry(url):
    import oras.client

    client = oras.client.OrasClient(hostname=urllib.parse.urlsplit(url).netloc)
    target = f"{urllib.parse.urlsplit(url).netloc}/apps/hello:1"
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        with open("hello.txt", "w") as file:
            file.write("hello " * 100_000)
        client.push(target, files=["hello.txt"], do_chunked=True, chunk_size=2**18, quiet=True)
        [pulled] = client.pull(target, outdir=os.path.join(directory, "pulled"))
        with open(pulled) as file:
            return {"pulled": len(file.read())}


def s3(url):
    import boto3
    import botocore.config
    import botocore.exceptions
    import requests

    config = botocore.config.Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
        request_checksum_calculation="when_required",  # rclone takes no checksum after a body
    )
    key = {"aws_access_key_id": "anAccessKeyOfTests", "aws_secret_access_key": "aSecretKeyOfTheseTests", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=url, config=config, **key)
    try:
        client.create_bucket(Bucket="photos")
    except botocore.exceptions.ClientError as error:
        return {"refused": error.response["Error"]["Code"]}
    client.put_object(Bucket="photos", Key="a b/ü.txt", Body=b"hello")
    signed = client.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "a b/ü.txt"})
    return {
        "get": client.get_object(Bucket="photos", Key="a b/ü.txt")["Body"].read().decode(),
        "presigned": requests.get(signed, timeout=20).text,
    }


def webdav(url):
    remote = f":webdav,url='{url}',vendor=other:"

    def rclone(*arguments, **options):
        return subprocess.run(
            [os.path.join(os.path.dirname(sys.executable), "rclone"), "--config", "", "--ca-cert", os.environ["SSL_CERT_FILE"], "--retries", "1", *arguments],
            check=True, stdout=subprocess.PIPE, text=True, timeout=60, **options,
        ).stdout

    rclone("rcat", f"{remote}dir/a ü.txt", input="hello")
    rclone("moveto", f"{remote}dir/a ü.txt", f"{remote}dir/b ü.txt")
    return {"listed": rclone("lsf", f"{remote}dir").split("\n")[:-1], "read": rclone("cat", f"{remote}dir/b ü.txt")}


def grpc(url):
    import grpc

    with open(os.environ["SSL_CERT_FILE"], "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    with grpc.secure_channel(f"{urllib.parse.urlsplit(url).netloc}:443", credentials) as channel:
        try:
            answer, call = channel.unary_unary("/echo.Echo/Unary").with_call(b"hello", timeout=20)
        except grpc.RpcError as error:
            return {"code": error.code().name}
        words, answers = queue.Queue(), []
        words.put(b"one")
        for upper in channel.stream_stream("/echo.Echo/Talk")(iter(words.get, b""), timeout=20):
            answers.append(upper.decode())
            words.put([b"two", b"three", b""][len(answers) - 1])  # each is said after the answer to the one before
        return {"unary": answer.decode(), "trailer": dict(call.trailing_metadata())["length"], "talk": answers}


def page(url):
    import requests

    return {"get": requests.get(url, timeout=20).status_code}


print(json.dumps(globals()[sys.argv[1]](sys.argv[2])))
