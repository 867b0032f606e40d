// Watches a service as server-sent events while the server is killed and
// started again on the same address and data.
import { spawn } from 'node:child_process';
import { EventSource } from 'eventsource';

const [binary, dir] = process.argv.slice(2);
let server, address = '127.0.0.1:0';

function start() {
  return new Promise((resolve, reject) => {
    server = spawn(binary, ['serve', '--http', address, '--dns', 'off', '--data-dir', dir]);
    let text = '';
    server.stderr.on('data', (chunk) => {
      text += chunk;
      const ready = /rollcall ready http=(\S+)/.exec(text);
      if (ready) resolve((address = ready[1]));
    });
    server.on('exit', () => reject(new Error('the server ended: ' + text)));
  });
}

async function register(id) {
  const answer = await fetch(`http://${address}/api/v1/services/events/instances/${id}`, {
    method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ port: 80, lease: { mode: 'none' } }),
  });
  if (answer.status !== 201) throw new Error(`register ${id}: ${answer.status} ${await answer.text()}`);
}

process.on('exit', () => server?.kill('SIGKILL'));
const timeout = setTimeout(() => { console.log('FAIL: no end after 60 s'); process.exit(1); }, 60_000);

await start();
await register('e-1');
const seen = [];
let snapshots = 0, wake = () => {};
const source = new EventSource(`http://${address}/api/v1/services/events/watch`);
for (const type of ['snapshot', 'reset', 'put', 'remove', 'health', 'bookmark']) {
  const take = (message) => {
    const record = JSON.parse(message.data);
    if (record.type === 'snapshot' || record.type === 'reset') {
      snapshots++;
      seen.push(...record.instances.map((i) => i.id));
    }
    if (record.type === 'put') seen.push(record.instance.id);
    wake();
  };
  source.addEventListener(type, take);
  if (type === 'snapshot') source.onmessage = take; // a server that names no events
}
async function sees(id) {
  while (!seen.includes(id)) await new Promise((resolve) => { wake = resolve; });
}

await sees('e-1');
await register('e-2');
await sees('e-2');
server.removeAllListeners('exit');
server.kill('SIGKILL');
await new Promise((resolve) => server.on('close', resolve));
await start();
await register('e-3'); // before the client is back, as likely as not
await sees('e-3');
await register('e-4');
await sees('e-4');
source.close();
clearTimeout(timeout);
if (snapshots !== 1 || seen.join() !== 'e-1,e-2,e-3,e-4') {
  console.log(`FAIL: ${snapshots} snapshots, saw ${seen}`);
  process.exit(1);
}
console.log('nothing missed');
process.exit(0);
