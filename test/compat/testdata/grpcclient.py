"""Registers, finds, watches, renews and drains with grpcio and stubs made of the .proto file."""
import queue
import sys

import grpc
import rollcall_pb2 as pb
import rollcall_pb2_grpc

channel = grpc.insecure_channel(sys.argv[1])
registry = rollcall_pb2_grpc.RegistryStub(channel)


class Stream:
    """A stream both ways: what is said goes through a queue."""

    def __init__(self, method):
        self.said = queue.Queue()
        self.heard = method(iter(self.said.get, None), timeout=30)

    def say(self, message):
        self.said.put(message)

    def hear(self):
        return next(self.heard)

    def end(self):
        self.said.put(None)


def instance(name, mode):
    return pb.Instance(
        service="video", id=name, address="10.0.3.17", ports=[pb.Port(name="http", port=8080)],
        capabilities=[pb.Capability(name="gpu", value=pb.Value(number=2))],
        metadata=[pb.Pair(name="team", value="Ünïcode ✓")], lease=pb.Lease(mode=mode),
    )


got = registry.Register(pb.RegisterRequest(instances=[instance("v-1", "ttl")]), timeout=10)
assert len(got.results) == 1 and got.results[0].created and not got.results[0].HasField("error"), got
is_ = got.results[0].instance
assert is_.metadata[0].value == "Ünïcode ✓" and is_.ports[0].port == 8080 and is_.lease.ttl == 15_000_000_000, is_

answer = registry.Resolve(pb.ResolveRequest(query=pb.Query(service="video", filter="cap.gpu >= 2")), timeout=10)
assert [i.id for i in answer.instances] == ["v-1"], answer

watch = Stream(registry.Watch)
watch.say(pb.WatchRequest(subscribe=pb.Subscribe(subscription=1, query=pb.Query(service="video"))))


def watched(kind):
    """The next record of a kind; it is acted upon."""
    while True:
        record = watch.hear()
        assert record.subscription == 1, record
        if record.WhichOneof("tell") == kind:
            told = getattr(record, kind)
            watch.say(pb.WatchRequest(ack=pb.Ack(subscription=1, revision=told.revision)))
            return told


state = watched("state")
assert [i.id for i in state.instances] == ["v-1"] and not state.more, state

session = Stream(registry.Session)
session.say(pb.SessionRequest(ref=1, open=pb.OpenSession()))
opened = session.hear()
assert opened.ref == 1 and opened.opened.token and not opened.opened.resumed, opened
session.say(pb.SessionRequest(ref=2, register=instance("v-2", "session")))
registered = session.hear()
assert registered.ref == 2 and registered.registered.created, registered
assert watched("changes").changes[0].put.id == "v-2"

renewals = Stream(registry.Renew)
hot = pb.InstanceReport(status=pb.STATUS_DEGRADED, note="hot")
renewals.say(pb.RenewRequest(renewals=[pb.Renewal(service="video", id="v-1", report=hot), pb.Renewal(service="video", id="nobody")]))
renewed = renewals.hear()
assert renewed.renewed == 1 and [k.id for k in renewed.unknown] == ["nobody"], renewed
renewals.end()
verdict = watched("changes").changes[0].health
assert list(verdict.ids) == ["v-1"] and verdict.status == pb.STATUS_DEGRADED and verdict.reason.endswith("hot"), verdict

drain = registry.Drain.future(pb.DrainRequest(key=pb.Key(service="video", id="v-1"), wait=20_000_000_000), timeout=30)
assert watched("changes").changes[0].remove.id == "v-1"
barrier = drain.result()
assert barrier.acknowledged == 1 and barrier.pending == 0, barrier

session.say(pb.SessionRequest(ref=3, goodbye=pb.Goodbye()))
while (said := session.hear()).WhichOneof("say") == "ping":
    session.say(pb.SessionRequest(pong=pb.Pong()))
assert said.ref == 3 and said.HasField("gone"), said
assert watched("changes").changes[0].remove.id == "v-2"

try:
    wrong = instance("v-3", "ttl")
    wrong.ports[0].port = 99999
    registry.Register(pb.RegisterRequest(instances=[wrong]), timeout=10)
    sys.exit("a port of 99999 was taken")
except grpc.RpcError as e:
    assert e.code() == grpc.StatusCode.INVALID_ARGUMENT, e
    assert "ports.http" in e.details(), e
watch.end()
