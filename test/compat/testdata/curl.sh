# A user with curl: register, find, renew, watch, deregister.
set -euo pipefail
fail() { echo "FAIL: $*"; exit 1; }
code() { curl -s -o body -w '%{http_code}' "$@"; }

[ "$(code -X PUT $API/services/web/instances/w-1 -d '{"port": 8080}')" = 201 ] || fail "register: $(cat body)"
[ "$(code -X PUT $API/services/web/instances/w-1 -d '{"port": 8080}')" = 200 ] || fail "the same again: $(cat body)"
[ "$(code -X POST $API/services/web/instances/w-1/heartbeat)" = 200 ] || fail "heartbeat: $(cat body)"
[ "$(code -X POST $API/services/web/instances/nobody/heartbeat)" = 404 ] || fail "heartbeat of nobody"

curl -s $API/services/web | grep -q '"address":"127.0.0.1"' || fail "the address is not the one it came from"
etag=$(curl -s -D- -o /dev/null $API/services/web | tr -d '\r' | sed -n 's/^[Ee]tag: //p')
[ "$(code -H "If-None-Match: $etag" $API/services/web)" = 304 ] || fail "no 304 for $etag"

# Enough to be worth compressing.
for n in $(seq 2 20); do
	[ "$(code -X PUT $API/services/web/instances/w-$n -d '{"port": 8080}')" = 201 ] || fail "register $n: $(cat body)"
done
curl -s -H 'Accept-Encoding: gzip' -o packed -w '%{size_download}' $API/services/web >size
curl -s --compressed $API/services/web >plain
[ "$(cat size)" -lt "$(wc -c <plain)" ] || fail "gzip saves nothing: $(cat size)"
gzip -dc packed | cmp - plain || fail "gzip says something else"

# A watch as a stream of lines: the snapshot, then the change.
mkfifo lines
curl -sN $API/services/web/watch >lines &
exec 3<lines
read -r first <&3
grep -q '^{"type":"snapshot"' <<<"$first" || fail "first record: $first"
[ "$(code -X DELETE $API/services/web/instances/w-1)" = 204 ] || fail "deregister: $(cat body)"
[ "$(code -X DELETE $API/services/web/instances/w-1)" = 204 ] || fail "deregister again: $(cat body)"
read -r second <&3
grep -q '^{"type":"remove".*"id":"w-1"' <<<"$second" || fail "second record: $second"
kill %1

[ "$(code -X PUT $API/services/web/instances/w-1 -d '{"prot": 1}')" = 400 ] || fail "an unknown field is taken"
grep -q '"field":"prot"' body || fail "the problem does not name it: $(cat body)"
echo ok
