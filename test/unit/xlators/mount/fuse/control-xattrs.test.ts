import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { E } from '../../../../../src/core/errno.ts'
import { logFor, logLevel, setLogLevel } from '../../../../../src/observe/log.ts'
import { gsyncdDrops, gsyncdName, obey } from '../../../../../xlators/mount/fuse/control-xattrs.ts'
import type { FuseBridge } from '../../../../../xlators/mount/fuse/index.ts'

const bridge = {
  name: 'fuse',
  log: logFor('test'),
  active: { find: (name: string) => (name === 'vg0-dht' ? {} : undefined) },
} as unknown as FuseBridge
const before = logLevel()
afterEach(() => setLogLevel(before))

const order = (name: string, value: string) => obey(bridge, name, Buffer.from(value))

test('the level of the process, of the bridge, of one translator', () => {
  assert.equal(order('trusted.glusterfs.set-log-level', 'DEBUG\0'), 0)
  assert.equal(logLevel(), 'DEBUG')
  assert.equal(order('trusted.glusterfs.set-log-level', 'error'), 0)
  assert.equal(logLevel(), 'ERROR')
  assert.equal(order('trusted.glusterfs.vg0-dht.set-log-level', 'TRACE'), 0)
  assert.equal(order('trusted.glusterfs.fuse.set-log-level', 'INFO'), 0)
  assert.equal(logLevel(), 'ERROR')
  assert.equal(logFor('vg0-dht').level, 'trace')
  assert.equal(logFor('fuse').level, 'info')
})

test('bad levels are refused; what is no order is an attribute', () => {
  assert.equal(order('trusted.glusterfs.set-log-level', 'LOUD'), E.OPNOTSUPP)
  assert.equal(order('trusted.glusterfs.set-log-level', '3'), E.OPNOTSUPP)
  assert.equal(order('trusted.glusterfs.syslog', 'maybe'), E.OPNOTSUPP)
  assert.equal(order('trusted.glusterfs.syslog', 'on'), 0)
  assert.equal(order('trusted.glusterfs.none.set-log-level', 'DEBUG'), undefined)
  assert.equal(order('user.set-log-level', 'DEBUG'), undefined)
})

test("geo-replication's marks change their namespace, what it copies besides is dropped", () => {
  assert.equal(gsyncdName('system.glusterfs.a.b.xtime'), 'trusted.glusterfs.a.b.xtime')
  assert.equal(gsyncdName('system.glusterfs.volume-mark.x'), 'trusted.glusterfs.volume-mark.x')
  assert.equal(gsyncdName('system.glusterfs.a.stime'), 'system.glusterfs.a.stime')
  const names = [
    'user.a',
    'trusted.glusterfs.a.xtime',
    'system.glusterfs.volume-mark',
    'glusterfs.gfid.newfile',
    'system.posix_acl_access',
    'trusted.foo',
    'trusted.gfid',
    'security.selinux',
    'system.glusterfs.a.stime',
  ]
  assert.deepEqual(names.filter(gsyncdDrops), names.slice(5))
})
