"""Registers, renews, finds and watches with Python's standard library alone."""
import json
import sys
import urllib.error
import urllib.request

api = sys.argv[1]


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    req = urllib.request.Request(api + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(req, timeout=10) as resp:
        text = resp.read()
        return resp.status, json.loads(text) if text else None


instance = {
    "address": "10.0.3.17",
    "ports": {"http": 8080},
    "capabilities": {"gpu": 2, "codecs": ["h264", "av1"], "canary": True},
    "metadata": {"team": "Ünïcode ✓"},
}
status, got = call("PUT", "/services/video/instances/v-1", instance)
assert status == 201, status
for name, value in instance.items():
    assert got[name] == value, (name, got[name])

status, got = call("GET", "/services/video?cap.codecs=av1&cap.gpu=2.0&cap.canary=true")
assert [i["id"] for i in got["instances"]] == ["v-1"], got
status, got = call("GET", "/services/video?cap.gpu=3")
assert got["instances"] == [], got

stream = urllib.request.urlopen(api + "/services/video/watch", timeout=10)
record = json.loads(stream.readline())
assert record["type"] == "snapshot" and len(record["instances"]) == 1, record
call("POST", "/services/video/instances/v-1/heartbeat", {"status": "degraded", "note": "hot"})
record = json.loads(stream.readline())
assert record["type"] == "health" and record["ids"] == ["v-1"] and record["status"] == "degraded", record
call("PATCH", "/services/video/instances/v-1", {"version": "2"})
record = json.loads(stream.readline())
assert record["type"] == "put" and record["instance"]["version"] == "2", record
stream.close()

try:
    call("PUT", "/services/video/instances/v-2", {"ports": {"http": 99999}})
    sys.exit("a port of 99999 was taken")
except urllib.error.HTTPError as e:
    problem = json.loads(e.read())
    assert e.code == 400 and problem["field"] == "ports.http", problem
print("ok")
