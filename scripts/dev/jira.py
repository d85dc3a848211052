"""A stand-in for Jira's REST API, as far as Alertmanager uses it: search, create, update, transitions."""

from __future__ import annotations

import re
from typing import Any

_TRANSITIONS = {"Done": "done", "To Do": "new"}
"""The transitions of every issue, each with the category of the status that it leads to."""


class Jira:
    """The issues, by their key.

    Attributes:
        issues: Each issue's fields, as they were last given; `status` is the category of its status.
    """

    def __init__(self) -> None:
        self.issues: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, content: Any) -> tuple[int, Any]:
        """Serve a request.

        Args:
            method: As `POST`.
            path: The path below the server's address, with the API's version in it.
            content: The JSON of the body.

        Returns:
            The status, and the JSON of the answer.
        """
        resource = re.sub(r"^/rest/api/[23]/", "", path)
        key, transitions = _issue(resource)
        if resource in {"search", "search/jql"}:
            return 200, {"issues": self._search(content["jql"])}
        if resource == "issue":
            key = f"{content['fields']['project']['key']}-{len(self.issues) + 1}"
            self.issues[key] = content["fields"] | {"status": "new"}
            return 201, {"key": key}
        if key not in self.issues:
            return 404, {"errorMessages": ["Issue does not exist"]}
        if transitions and method == "GET":
            return 200, {"transitions": [{"id": name, "name": name} for name in _TRANSITIONS]}
        if transitions:
            self.issues[key]["status"] = _TRANSITIONS[content["transition"]["id"]]
        else:
            self.issues[key] |= content["fields"]
        return 204, {}

    def _search(self, jql: str) -> list[dict[str, Any]]:
        label = re.search(r'labels="([^"]+)"', jql)
        closed_too = "statusCategory != Done" not in jql
        return [
            {"key": key, "fields": {"status": {"statusCategory": {"key": fields["status"]}}}}
            for key, fields in self.issues.items()
            if label and label[1] in fields["labels"] and (closed_too or fields["status"] != "done")
        ]


def _issue(resource: str) -> tuple[str, bool]:
    """Return the issue's key that a path names, and whether it is about its transitions."""
    found = re.fullmatch(r"issue/([^/]+)(/transitions)?", resource)
    return (found[1], bool(found[2])) if found else ("", False)
