"""s3://BUCKET/PREFIX, and the variables that name a bucket and its server."""

import pytest

from vllmperf.bucket.place import Place, endpoint_of, of_environment
from vllmperf.errors import UsageError


@pytest.mark.parametrize(
    ("text", "bucket", "key"),
    [
        ("s3://results", "results", ""),
        ("s3://results/", "results", ""),
        ("s3://results/team//day/", "results", "team/day"),
        ("s3://a.b-c/mit Leerzeichen/ü", "a.b-c", "mit Leerzeichen/ü"),
    ],
)
def test_a_place_is_a_bucket_and_what_its_keys_begin_with(text, bucket, key):
    found = Place.of(text)
    assert (found.bucket, found.key) == (bucket, key)
    assert str(found / "a.json") == "/".join(part for part in (f"s3://{bucket}", key, "a.json") if part)


@pytest.mark.parametrize(
    "text",
    ["s3://", "s3:///x", "s3:/results/x", "S3://results/x", "gs://results/x", "s3://a/x", "s3://a b/x",
     "s3://user:pass@results/x", "s3://results/../other", "s3://results/a\nb", "s3://results/" + "x" * 1025],
)  # fmt: skip
def test_what_is_no_place_is_refused(text):
    with pytest.raises(UsageError, match=r"^[^\n]+$") as caught:
        Place.of(text)
    assert "pass@" not in str(caught.value)


def test_the_own_variable_of_the_endpoint_comes_before_amazons():
    environment = {"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": "http://b:2/"}
    assert endpoint_of(None, environment) == "http://b:2"
    assert endpoint_of(None, {**environment, "BENCHMARK_RESULTS_ENDPOINT": "https://c"}) == "https://c"
    assert endpoint_of("http://d:4", environment) == "http://d:4"
    assert endpoint_of(None, {}) is None


@pytest.mark.parametrize("url", ["minio:9000", "ftp://minio", "http://", "http://host/?x=1"])
def test_an_endpoint_that_is_no_url_is_refused(url):
    with pytest.raises(UsageError, match="write http://HOST:PORT"):
        endpoint_of(url)


def test_a_password_in_the_endpoint_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="has a password") as caught:
        endpoint_of("http://me:hunter2@minio:9000")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("bucket", ["results", "s3://results", "s3://results/"])
def test_the_documents_variables_name_a_place(bucket):
    environment = {
        "BENCHMARK_RESULTS_BUCKET": bucket,
        "BENCHMARK_RESULTS_DIRECTORY": "/llama/day 1/",
        "BENCHMARK_RESULTS_ENDPOINT": "http://minio:9000",
    }
    assert of_environment(None, environment) == Place("results", "llama/day 1", "http://minio:9000")


def test_without_a_bucket_there_is_no_place_and_a_directory_alone_is_an_error():
    assert of_environment(None, {}) is None
    with pytest.raises(UsageError, match="BENCHMARK_RESULTS_BUCKET is not"):
        of_environment(None, {"BENCHMARK_RESULTS_DIRECTORY": "x"})


def test_a_bad_bucket_is_named_by_its_variable():
    with pytest.raises(UsageError, match="BENCHMARK_RESULTS_BUCKET: 's3://my bucket' is no place"):
        of_environment(None, {"BENCHMARK_RESULTS_BUCKET": "my bucket"})
