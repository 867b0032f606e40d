// Asks a server with Node's own resolver, which is c-ares.
import assert from 'node:assert/strict';
import { Resolver } from 'node:dns/promises';

const resolver = new Resolver({ timeout: 3000, tries: 1 });
resolver.setServers([process.argv[2]]);

const fails = (promise, code) => assert.rejects(promise, (err) => err.code === code || assert.fail(`${err.code}, want ${code}`));

const withTTL = await resolver.resolve4('web.service.rollcall', { ttl: true });
assert.deepEqual(withTTL.sort((a, b) => a.address.localeCompare(b.address)), [{ address: '10.0.0.1', ttl: 1 }, { address: '10.0.0.2', ttl: 1 }]);
assert.deepEqual(await resolver.resolve6('WEB.service.rollcall'), ['fd00::3']);
const records = await resolver.resolveSrv('_web._tcp.service.rollcall');
assert.deepEqual(records.sort((a, b) => a.name.localeCompare(b.name)), [
  { priority: 1, weight: 25600, port: 8080, name: 'web-1.web.instance.rollcall' },
  { priority: 1, weight: 12800, port: 8080, name: 'web-2.web.instance.rollcall' },
  { priority: 1, weight: 25600, port: 8080, name: 'web-3.web.instance.rollcall' },
]);
const texts = await resolver.resolveTxt('web.service.rollcall');
assert.equal(texts.length, 3);
assert(texts.some((t) => t.includes('id=web-1') && t.includes('team=core')), JSON.stringify(texts));
assert.deepEqual(await resolver.reverse('10.0.0.1'), ['web-1.web.instance.rollcall']);
assert.deepEqual(await resolver.resolvePtr('_gpu._sub._web._tcp.rollcall'), ['web-2._web._tcp.rollcall']);
assert.equal((await resolver.resolveSoa('rollcall')).nsname, 'ns.rollcall');
assert.equal((await resolver.resolve4('big.service.rollcall')).length, 200);
assert.equal((await resolver.resolveSrv('big.service.rollcall')).length, 200);
await fails(resolver.resolve4('nobody.service.rollcall'), 'ENOTFOUND');
await fails(resolver.resolve6('big.service.rollcall'), 'ENODATA');
await fails(resolver.resolve4('down.service.rollcall'), 'ENODATA');
await fails(resolver.resolve4('example.com'), 'EREFUSED');
console.log('node', process.version, 'c-ares', process.versions.ares);
