"""No form of a password is shown, and what holds no secret stays as it is."""

import time

import pytest

from commands import SECRET, assert_one_safe_line, call
from servers import postgres  # noqa: F401
from study import report
from study.redaction import hide_secrets


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:s3cr3t@h/d",
        "postgresql://me:a s3cr3t@h/d",
        "postgresql://me:s3cr3t a@h/d",
        "postgresql://me:a\ns3cr3t@h/d",
        "postgresql://:s3cr3t@h/d",
        "postgresql:///me:s3cr3t@h/d",
        "postgresql:/me:s3cr3t@h/d",
        "postgresql+psycopg2://me:x@s3cr3t/s3cr3t?y#@h",
        "mysql://me:p%40s3cr3t@h/d",
        "redis://s3cr3t@h",
        "grpc://me:s3cr3t@h:1",
        "me:s3cr3t@h/d",
        "--storage=postgresql://me:s3cr3t@h/d",
        "http://h/?password=s3cr3t&b=1",
        "http://h/?PASSWORD=s3cr3t",
        "http://h/?access_token=s3cr3t",
        "http://h/?api-key=s3cr3t",
        "http://h/?X-Amz-Signature=s3cr3t",
        "http://h/?sig=s3cr3t",
        "http://h/?sslpassword=s3cr3t",
        "http://h/?pass%77ord=s3cr3t",
        "http://h/?next=postgresql%3A%2F%2Fme%3As3cr3t%40h",
        "http://h/?next=postgresql%253A%252F%252Fme%253As3cr3t%2540h",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC+Driver+17%7D%3BUID%3Dsa%3BPWD%3Ds3cr3t%3BSERVER%3Dh",
        "mssql+pyodbc:///?odbc_connect=DRIVER%253D%257BODBC%257D%253BPWD%253Ds3cr3t",
        "mssql+pyodbc:///?odbc_connect=DRIVER={ODBC};UID=sa;PWD={a&s3cr3t};SERVER=h",
        "DRIVER={ODBC};UID=sa;Pwd = s3cr3t",
        "PWD%3Ds3cr3t",
        "host=h user=me password='a&s3cr3t' dbname=d",
        "host=h password = s3cr3t",
        "cannot parse 'postgresql://me:a s3cr3t@h/d' (of --storage)",
        "{'password': 's3cr3t', 'user': 'me'}",
        '{"api_key": "s3cr3t"}',
        "Authorization: Basic s3cr3t==",
        "authorization: Bearer s3cr3t.s3cr3t",
    ],
)
def test_no_form_of_a_password_is_shown(text):
    assert "s3cr3t" not in hide_secrets(text)
    assert "s3cr3t" not in str(hide_secrets({"a": [text, (text,)]}))
    assert hide_secrets(hide_secrets(text)) == hide_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/a@b/x.db",
        "sqlite:///home/a:b@c/x.db",
        "file:///home/a:b@c",
        "postgresql://host/db?sslmode=require&application_name=a%20b",
        "http://127.0.0.1:5000",
        "runs/a@b/journal.log",
        "12:30, 3 of 4 trials: front 2",
        "--try strategy=FU,lr=1e-3",
    ],
)
def test_what_holds_no_secret_stays(text):
    assert hide_secrets(text) == text


@pytest.mark.parametrize("text", ["key" * 10**5, "a:" * 10**5, "://" * 10**5, "%25" * 10**5, "x=" * 10**5, "@" * 10**5])
def test_the_longest_text_is_searched_in_time(text):
    started = time.monotonic()
    hide_secrets(text)
    assert time.monotonic() - started < 5


def test_a_storage_that_cannot_be_reached_shows_no_secret(empty_folder, capsys):
    for url in (f"nosuch://me:a {SECRET}@h/d", f"mssql+pyodbc:///?odbc_connect=UID%3Dsa%3BPWD%3D{SECRET}"):
        assert call(report.main, "x", "--storage", url) == 2
        said = capsys.readouterr().err
        assert_one_safe_line(said)
        assert SECRET not in said
