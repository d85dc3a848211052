import json
import signal
import smtplib
import subprocess
import sys
from email.message import EmailMessage

import httpx
import pytest

from scripts.dev.jira import Jira
from scripts.dev.sink import Sink
from scripts.embedded.processes import free_port
from tests.alertmanager.alerting import until


def post(sink: Sink, path: str, content: object) -> httpx.Response:
    return httpx.post(f"{sink.url}{path}", json=content, trust_env=False)


@pytest.mark.parametrize(
    ("service", "status", "body"),
    [("slack", 200, "ok"), ("mattermost", 200, "ok"), ("teams", 202, ""), ("anything", 200, "{}")],
)
def test_it_answers_as_the_service_does(sink: Sink, service: str, status: int, body: str) -> None:
    answer = post(sink, f"/{service}/token", {"text": "Hello"})
    assert (answer.status_code, answer.text) == (status, body)
    (item,) = sink.received(service)
    assert (item.path, item.method, item.content) == ("/token", "POST", {"text": "Hello"})


def test_it_keeps_mail_by_its_parts(sink: Sink) -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Größe", "a@local.example", "b@local.example"
    mail.set_content("text")
    mail.add_alternative("<p>text</p>", subtype="html")
    with smtplib.SMTP("127.0.0.1", sink.smtp_port) as client:
        client.send_message(mail)
    item = sink.wait(lambda item: item.service == "smtp")
    assert item.path == "b@local.example"
    assert item.content["subject"] == "Größe"
    assert item.content["text/html"].strip() == "<p>text</p>"


def test_a_service_in_trouble_fails_and_its_requests_are_kept(sink: Sink) -> None:
    httpx.put(f"{sink.url}/trouble/slack", content="503", trust_env=False)
    assert post(sink, "/slack/token", {}).status_code == 503
    httpx.delete(f"{sink.url}/trouble/slack", trust_env=False)
    assert post(sink, "/slack/token", {}).status_code == 200
    answer = httpx.get(f"{sink.url}/received", trust_env=False).json()
    assert [item["status"] for item in answer] == [503, 200]


def test_mail_in_trouble_is_refused(sink: Sink) -> None:
    sink.troubles["smtp"] = 451
    with smtplib.SMTP("127.0.0.1", sink.smtp_port) as client, pytest.raises(smtplib.SMTPDataError, match="451"):
        client.sendmail("a@local.example", ["b@local.example"], "Subject: x\n\nx")


def test_waiting_in_vain_says_what_came(sink: Sink) -> None:
    post(sink, "/slack/token", {"text": "Hello"})
    with pytest.raises(TimeoutError, match="slack POST /token"):
        sink.wait(lambda item: item.service == "teams", timeout=0.1)


def test_jira_knows_its_issues() -> None:
    jira = Jira()
    fields = {"project": {"key": "OPS"}, "labels": ["ALERT{1}"], "summary": "A"}
    assert jira.answer("POST", "/rest/api/2/issue", {"fields": fields}) == (201, {"key": "OPS-1"})
    search = {"jql": 'statusCategory != Done and project="OPS" and labels="ALERT{1}"'}
    assert [issue["key"] for issue in jira.answer("POST", "/rest/api/3/search/jql", search)[1]["issues"]] == ["OPS-1"]
    assert jira.answer("PUT", "/rest/api/2/issue/OPS-1", {"fields": {"summary": "B"}})[0] == 204
    assert jira.answer("POST", "/rest/api/2/issue/OPS-1/transitions", {"transition": {"id": "Done"}})[0] == 204
    assert jira.issues["OPS-1"]["summary"] == "B"
    assert jira.answer("POST", "/rest/api/2/search", search)[1]["issues"] == []
    assert jira.answer("PUT", "/rest/api/2/issue/OPS-2", {"fields": {}})[0] == 404


def test_the_command_prints_what_comes() -> None:
    port, smtp = free_port(), free_port()
    command = [sys.executable, "-m", "scripts.dev.sink", "--port", str(port), "--smtp-port", str(smtp)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:

        def is_up() -> bool:
            try:
                return httpx.post(
                    f"http://127.0.0.1:{port}/slack/x", json={"text": "Hello"}, trust_env=False
                ).is_success
            except httpx.ConnectError:
                return False

        until(is_up)
        assert process.stdout
        assert json.loads(process.stdout.readline())["content"] == {"text": "Hello"}
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
