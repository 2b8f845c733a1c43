/** RPC headers, credentials, and the front of READ replies. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { E } from '../../src/core/errno.ts'
import { type Creds, ROOT_CREDS } from '../../src/core/frame.ts'
import { ROOT_GFID } from '../../src/core/gfid.ts'
import { gfFlagsFromFlags, gfFlagsToFlags } from '../../src/xdr/glusterfs-fops.ts'
import { CBK, DUMP, FOP, findProcedure, HANDSHAKE, PORTMAP } from '../../src/xdr/programs.ts'
import { decodeReadReply, readReplyBodySize } from '../../src/xdr/read-reply.ts'
import { Reader, XdrError } from '../../src/xdr/reader.ts'
import {
  AUTH_GLUSTERFS_V2,
  AUTH_GLUSTERFS_V3,
  AUTH_NONE,
  type AuthFlavor,
  decodeCreds,
  encodeAuth,
} from '../../src/xdr/rpc-auth.ts'
import {
  beginReply,
  CALL,
  decodeHeader,
  encodeCall,
  endRecord,
  REPLY,
  type ReplyStat,
} from '../../src/xdr/rpc-msg.ts'
import { Writer } from '../../src/xdr/writer.ts'
import { goldenRecords } from './vectors.ts'

const groups = (count: number): number[] => Array.from({ length: count }, (_, i) => 1000 + i)

/** The credential as a server reads it; the errno when it is not sent. */
function sent(flavor: AuthFlavor, change: Partial<Creds>): Creds | number {
  const w = new Writer()
  const errno = encodeAuth(w, flavor, { ...ROOT_CREDS, ...change })
  if (errno !== 0) {
    assert.equal(w.position, 0, 'nothing is written')
    return errno
  }
  const r = new Reader(w.take())
  assert.equal(r.u32(), flavor)
  const body = r.opaque(400)
  assert.equal(r.u32(), 0)
  assert.equal(r.u32(), 0)
  assert.equal(r.remaining, 0)
  const creds = decodeCreds(flavor, body)
  assert.ok(creds)
  return creds
}

function groupsSent(flavor: AuthFlavor, groupCount: number, ownerSize: number): number {
  const creds = sent(flavor, { groups: groups(groupCount), lkOwner: Buffer.alloc(ownerSize, 1) })
  assert.ok(typeof creds === 'object')
  assert.deepEqual(creds.groups, groups(creds.groups.length))
  assert.equal(creds.lkOwner.length, ownerSize)
  return creds.groups.length
}

test('groups that do not fit are left out', () => {
  assert.equal(groupsSent(AUTH_GLUSTERFS_V3, 100, 4), 87)
  assert.equal(groupsSent(AUTH_GLUSTERFS_V3, 100, 8), 83)
  assert.equal(groupsSent(AUTH_GLUSTERFS_V3, 83, 8), 83)
  assert.equal(groupsSent(AUTH_GLUSTERFS_V3, 82, 8), 82)
  assert.equal(groupsSent(AUTH_GLUSTERFS_V3, 100, 91), 0)
  assert.equal(groupsSent(AUTH_GLUSTERFS_V2, 100, 4), 91)
  assert.equal(groupsSent(AUTH_GLUSTERFS_V2, 100, 95), 0)
})

test('a lock owner that does not fit is E2BIG', () => {
  assert.equal(sent(AUTH_GLUSTERFS_V3, { lkOwner: Buffer.alloc(92) }), E.TOOBIG)
  assert.equal(sent(AUTH_GLUSTERFS_V3, { lkOwner: Buffer.alloc(1024) }), E.TOOBIG)
  assert.equal(sent(AUTH_GLUSTERFS_V2, { lkOwner: Buffer.alloc(96) }), E.TOOBIG)
})

test('without a lock owner the pid is the owner', () => {
  const creds = sent(AUTH_GLUSTERFS_V3, { pid: 4500 })
  assert.ok(typeof creds === 'object')
  assert.equal(creds.lkOwner.toString('hex'), '94110000')
  const internal = sent(AUTH_GLUSTERFS_V2, { pid: -4 })
  assert.ok(typeof internal === 'object')
  assert.equal(internal.pid, -4)
  assert.equal(internal.lkOwner.toString('hex'), 'fcffffff')
})

test('v3 carries times', () => {
  const times = { timeFlags: 31, timeSec: 1795355701, timeNsec: 983464259 }
  const creds = sent(AUTH_GLUSTERFS_V3, { ...times, uid: 1, gid: 2, lkOwner: Buffer.from('owner') })
  assert.deepEqual(creds, {
    ...times,
    pid: 0,
    uid: 1,
    gid: 2,
    groups: [],
    lkOwner: Buffer.from('owner'),
  })
})

test('a call that cannot be sent leaves the writer as it was', () => {
  const w = new Writer()
  w.u32(7)
  const owner = { ...ROOT_CREDS, lkOwner: Buffer.alloc(100) }
  const body = { gfid: ROOT_GFID, xdata: undefined }
  assert.equal(encodeCall(w, 1, FOP.STAT, AUTH_GLUSTERFS_V3, owner, body), E.TOOBIG)
  assert.equal(w.position, 4)
  assert.throws(
    () =>
      encodeCall(w, 1, FOP.TRUNCATE, AUTH_GLUSTERFS_V3, ROOT_CREDS, {
        ...body,
        offset: 2 ** 53,
      }),
    XdrError,
  )
  assert.equal(w.position, 4)
})

test('bodies are checked against their procedure when compiled', () => {
  const w = new Writer()
  const send = (): unknown => [
    // @ts-expect-error gfid is missing
    encodeCall(w, 1, FOP.STAT, AUTH_NONE, ROOT_CREDS, { xdata: undefined }),
    // @ts-expect-error xdata must be thought of
    encodeCall(w, 1, FOP.STAT, AUTH_NONE, ROOT_CREDS, { gfid: ROOT_GFID }),
    encodeCall(w, 1, FOP.STAT, AUTH_NONE, ROOT_CREDS, {
      gfid: ROOT_GFID,
      xdata: undefined,
      // @ts-expect-error STAT has no fd
      fd: 1,
    }),
  ]
  assert.throws(send, XdrError)
})

test('several records in one buffer; the mark counts a payload that follows', () => {
  const w = new Writer()
  const body = { gfid: ROOT_GFID, xdata: undefined }
  encodeCall(w, 2, FOP.STAT, AUTH_NONE, ROOT_CREDS, body)
  const second = w.position
  encodeCall(w, 3, FOP.STAT, AUTH_NONE, ROOT_CREDS, body, 3)
  const bytes = w.take()
  assert.equal(bytes.readUInt32BE(0), 0x80000000 + second - 4)
  assert.equal(bytes.readUInt32BE(second), 0x80000000 + second - 4 + 3)
  const header = decodeHeader(new Reader(bytes, second + 4))
  assert.ok(header.type === CALL)
  assert.equal(header.xid, 3)
})

test('every kind of reply', () => {
  const kinds: [ReplyStat, number[], string][] = [
    ['SUCCESS', [], '00000000 0000000000000000 00000000'],
    ['PROG_UNAVAIL', [], '00000000 0000000000000000 00000001'],
    ['PROG_MISMATCH', [1, 2], '00000000 0000000000000000 00000002 00000001 00000002'],
    ['PROC_UNAVAIL', [], '00000000 0000000000000000 00000003'],
    ['GARBAGE_ARGS', [], '00000000 0000000000000000 00000004'],
    ['SYSTEM_ERR', [], '00000000 0000000000000000 00000005'],
    ['RPC_MISMATCH', [2, 2], '00000001 00000000 00000002 00000002'],
    ['AUTH_ERROR', [2], '00000001 00000001 00000002'],
  ]
  for (const [stat, detail, hex] of kinds) {
    const w = new Writer()
    beginReply(w, 9, stat, detail)
    endRecord(w, 0)
    const bytes = w.take()
    assert.equal(bytes.subarray(12).toString('hex'), hex.replaceAll(' ', ''))
    const r = new Reader(bytes, 4)
    assert.deepEqual(decodeHeader(r), { type: REPLY, xid: 9, stat, detail })
    assert.equal(r.remaining, 0)
    for (let end = 4; end < bytes.length; end++) {
      assert.throws(() => decodeHeader(new Reader(bytes, 4, end)), XdrError)
    }
  }
})

test('headers no peer sends are refused', () => {
  const bad: Record<string, RegExp> = {
    '00000001 00000002': /neither call nor reply/,
    '00000001 00000001 00000002': /neither accepted nor denied/,
    '00000001 00000001 00000000 00000000 00000000 00000006': /accept_stat .*unknown/,
    '00000001 00000001 00000001 00000002': /reject_stat/,
    '00000001 00000001 00000000 00000000 00000191': /verf .*401 bytes/,
    '00000001 00000001 00000000 00000000 fffffffd': /verf/,
    '00000001 00000000 00000002 00000001 00000001 00000001 00000000 00000191': /401 bytes/,
  }
  for (const [hex, why] of Object.entries(bad)) {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    assert.throws(() => decodeHeader(new Reader(bytes)), why)
  }
})

test('the payload of a READ reply is found as soon as its body is there', () => {
  let found = 0
  for (const golden of goldenRecords()) {
    if (!/^fop-read\/.*reply$/.test(golden.name)) continue
    const bytes = Buffer.from(golden.hex, 'hex')
    const start = 4 + 24
    const payloadSize = (golden.decoded.payload ?? '').length / 2
    const payloadStart = bytes.length - payloadSize
    for (let end = start; end < payloadStart; end++) {
      assert.equal(decodeReadReply(new Reader(bytes, start, end)), undefined)
    }
    const r = new Reader(bytes, start, payloadStart)
    assert.equal(readReplyBodySize(r), payloadStart - start)
    assert.equal(r.position, start)
    const reply = decodeReadReply(r)
    assert.equal(reply?.payloadStart, payloadStart)
    assert.equal(reply?.rsp.size, payloadSize)
    found++
  }
  assert.ok(found >= 4)
})

test('a READ reply whose xdata size lies is refused', () => {
  const golden = goldenRecords().find(({ name }) => name === 'fop-read/ok/reply')
  assert.ok(golden)
  const bytes = Buffer.from(golden.hex, 'hex')
  const at = 4 + 24 + 160
  bytes.writeUInt32BE(0xffffffff, at)
  assert.throws(() => decodeReadReply(new Reader(bytes, 28)), /xdata at byte 188/)
  bytes.writeUInt32BE(4, at)
  assert.throws(() => decodeReadReply(new Reader(Buffer.concat([bytes, bytes]), 28)), XdrError)
})

test('open flags', () => {
  assert.equal(gfFlagsFromFlags(0o102), 0o102)
  assert.equal(gfFlagsFromFlags(0o4010001), 0o10001, 'O_SYNC')
  assert.equal(gfFlagsFromFlags(0o10001), 0o10001, 'O_DSYNC')
  assert.equal(gfFlagsFromFlags(0o20000000), 0, 'O_PATH does not travel')
  assert.equal(gfFlagsToFlags(0o10001), 0o4010001)
})

test('procedures by number', () => {
  for (const table of [FOP, DUMP, HANDSHAKE, PORTMAP, CBK]) {
    const numbers = Object.values(table).map((procedure) => procedure.number)
    assert.equal(new Set(numbers).size, numbers.length)
    for (const [name, procedure] of Object.entries(table)) {
      assert.equal(procedure.name, name)
      const { program, number } = procedure
      assert.equal(findProcedure(program.number, program.version, number), procedure)
    }
  }
  assert.equal(findProcedure(1298437, 330, 1), undefined)
  assert.equal(findProcedure(1298437, 400, 49), undefined)
})
