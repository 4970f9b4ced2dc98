"""A wandb server in memory, on the loopback interface: as much of one as the real client and agent need."""

import base64
import contextlib
import json
import re
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import unquote

import yaml

KEY, ENTITY, PROJECT = "0123456789" * 4, "us", "lipsync"
HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"


@dataclass
class Run:
    """What a run has sent: `lines` of its streamed files by name and place, whole `files` by name."""

    name: str
    config: dict = field(default_factory=dict)
    sweep: str | None = None
    exitcode: int | None = None
    lines: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    files: dict[str, bytes] = field(default_factory=dict)

    def history(self) -> list[dict]:
        return [json.loads(line) for _, line in sorted(self.lines[HISTORY].items())]

    def series(self, metric: str) -> dict[int, float]:
        """A metric's values by the Trainer's step."""
        return {row["trainer/global_step"]: row[metric] for row in self.history() if metric in row}

    def summary(self) -> dict:
        return json.loads(self.lines[SUMMARY].get(0, "{}"))


class LoopbackWandb:
    """Serves while it is entered; `runs`, `sweeps` and `artifacts` hold what arrived, and may be read at any time.

    `trials` are handed to agents one after another, each the arguments of one run. A run whose name is in `stopped` its
    agent is told to end.
    """

    def __init__(self, port: int = 0) -> None:
        self.runs: dict[str, Run] = {}
        self.sweeps: list[dict] = []
        self.artifacts: list[dict] = []
        self.trials: list[dict] = []
        self.stopped: set[str] = set()
        self.agents: dict[str, list[str]] = defaultdict(list)  # the runs that each was given
        self.lock, self.numbers = threading.Lock(), count(1)
        self.http = ThreadingHTTPServer(("127.0.0.1", port), type("Bound", (Handler,), {"wandb": self}))
        self.http.daemon_threads = True
        self.port = self.http.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "LoopbackWandb":
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gone = True  # connections that are open are not served either
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    gone = False

    def environment(self) -> dict[str, str]:
        """What a client must find in its environment to come here."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": KEY,
            "WANDB_ENTITY": ENTITY,
            "WANDB_PROJECT": PROJECT,
            "WANDB_ERROR_REPORTING": "false",
        }

    def answer(self, operation: str, asked: dict) -> dict:
        """The data that a GraphQL operation gives; an unknown one gives nothing."""
        found = getattr(self, re.sub("([A-Z])", r"_\1", operation).lower(), None)
        return found(asked) if found else {}

    def _viewer(self, asked: dict) -> dict:
        return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    def _upsert_bucket(self, asked: dict) -> dict:
        inserted = asked["name"] not in self.runs
        run = self.runs.setdefault(asked["name"], Run(asked["name"]))
        run.config |= json.loads(asked.get("config") or "{}")
        run.sweep = asked.get("sweep") or run.sweep
        bucket = {"id": run.name, "name": run.name, "displayName": asked.get("displayName") or run.name}
        place = {"id": PROJECT, "name": PROJECT, "entity": {"id": ENTITY, "name": ENTITY}}
        bucket |= {"config": "{}", "sweepName": run.sweep, "project": place}
        bucket["historyLineCount"] = len(run.lines[HISTORY])
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _run_resume_status(self, asked: dict) -> dict:
        run = self.runs.get(asked["name"])
        bucket = run and {
            "id": run.name,
            "name": run.name,
            "displayName": run.name,
            "summaryMetrics": json.dumps(run.summary()),
            "config": json.dumps(run.config),
            "logLineCount": len(run.lines["output.log"]),
            "historyLineCount": len(run.lines[HISTORY]),
            "eventsLineCount": len(run.lines["wandb-events.jsonl"]),
            "historyTail": json.dumps([json.dumps(row) for row in run.history()[-1:]]),
            "eventsTail": "[]",
            "tags": [],
            "wandbConfig": "{}",
        }
        return {"model": {"id": PROJECT, "name": PROJECT, "entity": {"id": ENTITY, "name": ENTITY}, "bucket": bucket}}

    def _create_run_files(self, asked: dict) -> dict:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{asked['run']}/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def _artifact_type(self, asked: dict) -> dict:
        return {"project": None}  # no artifact of that name is of another type

    def _create_artifact(self, asked: dict) -> dict:
        self.artifacts.append(asked["input"] | {"files": {}})
        number = str(len(self.artifacts) - 1)
        made = {"id": number, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": made}}

    def _create_artifact_manifest(self, asked: dict) -> dict:
        number = asked["artifactID"]
        file = {"id": number, "uploadUrl": f"{self.url}/artifact/{number}/manifest", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": number, "file": file}}}

    def _update_artifact_manifest(self, asked: dict) -> dict:
        made = self._create_artifact_manifest({"artifactID": asked["artifactManifestID"]})
        return {"updateArtifactManifest": made["createArtifactManifest"]}

    def _create_artifact_files(self, asked: dict) -> dict:
        edges = []
        for wanted in asked["input"]["artifactFiles"]:
            number, name = wanted["artifactID"], wanted["name"]
            node = {"storagePath": name, "uploadUrl": f"{self.url}/artifact/{number}/{name}", "uploadHeaders": []}
            edges.append({"node": node | {"uploadMultipartUrls": None, "artifact": {"id": number}}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit_artifact(self, asked: dict) -> dict:
        number = asked["artifactID"]
        return {"commitArtifact": {"artifact": {"id": number, "digest": self.artifacts[int(number)]["digest"]}}}

    def _upsert_sweep(self, asked: dict) -> dict:
        self.sweeps.append(yaml.safe_load(asked["config"]))
        place = {"id": PROJECT, "name": PROJECT, "entity": {"id": ENTITY, "name": ENTITY}}
        sweep = {"name": f"sweep{len(self.sweeps)}", "project": place}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _sweep_with_runs(self, asked: dict) -> dict:
        config = yaml.safe_dump(self.sweeps[int(asked["sweep"].removeprefix("sweep")) - 1])
        return {"project": {"sweep": {"name": asked["sweep"], "config": config, "runs": {"edges": []}}}}

    def _create_agent(self, asked: dict) -> dict:
        return {"createAgent": {"agent": {"id": f"agent{next(self.numbers)}"}}}

    def _heartbeat(self, asked: dict) -> dict:
        given, running = self.agents[asked["id"]], json.loads(asked["runState"])
        commands = [{"type": "stop", "run_id": name} for name in running if name in self.stopped]
        if not running and self.trials:
            arguments = {name: {"value": value} for name, value in self.trials.pop(0).items()}
            given.append(f"trial{next(self.numbers)}")
            commands = [{"type": "run", "run_id": given[-1], "args": arguments, "program": "lightning"}]
        elif not running:
            commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": asked["id"]}, "commands": json.dumps(commands)}}

    def streamed(self, name: str, sent: dict) -> None:
        """Takes what a run says of its history, summary and output."""
        run = self.runs.setdefault(name, Run(name))
        for file, chunk in (sent.get("files") or {}).items():
            run.lines[file] |= {chunk["offset"] + place: line for place, line in enumerate(chunk["content"])}
        if sent.get("complete"):
            run.exitcode = sent["exitcode"]

    def uploaded(self, path: str, body: bytes) -> None:
        """Takes a whole file, of a run or of an artifact."""
        kind, owner, name = path.strip("/").split("/", 2)
        files = self.runs[owner].files if kind == "upload" else self.artifacts[int(owner)]["files"]
        files[name] = body


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for a `LoopbackWandb`; another key than KEY is refused as wandb refuses it."""

    protocol_version = "HTTP/1.1"
    wandb: LoopbackWandb

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.wandb.gone:
            self.close_connection = True
            return
        path, given = unquote(self.path), self.headers.get("Authorization", "")
        status, reply = 200, {}
        with self.wandb.lock:
            if self.command == "PUT":
                self.wandb.uploaded(path, body)
            elif base64.b64encode(f"api:{KEY}".encode()).decode() not in given:
                status, reply = 401, {"errors": [{"message": "invalid API key"}]}
            elif path == "/graphql":
                asked = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])[1]
                reply = {"data": self.wandb.answer(operation, asked.get("variables") or {})}
            elif streamed := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", path):
                self.wandb.streamed(streamed[1], json.loads(body))
        answer = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_GET = do_POST  # noqa: N815

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # clients leave without a word
            super().handle()

    def log_message(self, format: str, *arguments: object) -> None:
        pass
