"""An S3 on this machine, for tests: moto's server in a thread, in memory, found through the environment as a real one
is."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest

KEYS = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextlib.contextmanager
def object_store(host: str = "127.0.0.1") -> Iterator[str]:
    """The address of an empty bucket. The server listens on the host's address."""
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed: no simulated S3")
    pytest.importorskip("flask_cors", reason="moto[server] is not installed: no simulated S3")
    import boto3

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it names every request

    running = server.ThreadedMotoServer(host, port=0, verbose=False)
    running.start()
    _, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            environment.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="results")
        try:
            yield "s3://results"
        finally:
            boto3.resource("s3").Bucket("results").objects.all().delete()
            running.stop()
