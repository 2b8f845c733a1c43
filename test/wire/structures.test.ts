/** Structures no golden record has, by hand. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LockInfo } from '../../src/core/fop.ts'
import { type Gfid, ROOT_GFID } from '../../src/core/gfid.ts'
import { CBK, FOP, HANDSHAKE, PORTMAP } from '../../src/xdr/programs.ts'
import { type Codec, decodeAll, nothing } from '../../src/xdr/schema.ts'
import { Writer } from '../../src/xdr/writer.ts'

const GFID = '000102030405060708090a0b0c0d0e0f'
const gfid = Buffer.from(GFID, 'hex').toString('latin1') as Gfid
const NULL_DICT = '00000000 ffffffff 00000000'

/** `value` travels as these lines of hex; `#` starts a comment. */
function travels<T>(codec: Codec<T>, value: T, text: string): void {
  const hex = text.replace(/#.*|\s/g, '')
  const w = new Writer()
  codec.encode(w, value)
  assert.equal(w.take().toString('hex'), hex)
  assert.deepEqual(decodeAll(codec, Buffer.from(hex, 'hex')), value)
}

const lock: LockInfo = {
  flock: { type: 1, whence: 0, start: 5n, len: 2n ** 63n - 1n, pid: 9, lkOwner: Buffer.from('me') },
  clientUid: 'CTX',
  lkFlags: 0,
}
const LOCK = `
  00000001           # type
  00000000           # whence
  0000000000000005   # start
  7fffffffffffffff   # len
  00000009           # pid
  00000002 6d650000  # lk_owner
  00000003 43545800  # client_uid
  00000000           # lk_flags`

test('active locks', () => {
  travels(
    FOP.GETACTIVELK.reply,
    { op_ret: 2, op_errno: 0, xdata: undefined, reply: [lock, lock] },
    `00000002 00000000 ${NULL_DICT} 00000001 ${LOCK}
     00000001 ${LOCK}
     00000000`,
  )
  travels(
    FOP.SETACTIVELK.request,
    { gfid, request: [lock], xdata: undefined },
    `${GFID} 00000001 ${LOCK}
     00000000 ${NULL_DICT}`,
  )
})

test('namelink', () => {
  travels(
    FOP.NAMELINK.request,
    { pargfid: ROOT_GFID, bname: 'a', xdata: undefined },
    `00000000000000000000000000000001 00000001 61000000 ${NULL_DICT}`,
  )
})

test('callbacks', () => {
  travels(
    CBK.RECALL_LEASE.request,
    { gfid, lease_type: 2, tid: Buffer.from('ABCDEFGHIJKLMNOP'), xdata: undefined },
    `${GFID} 00000002 4142434445464748494a4b4c4d4e4f50 00000000`,
  )
  travels(
    CBK.ENTRYLK_CONTENTION.request,
    { gfid, type: 1, pid: 7, name: '', domain: 'd', xdata: undefined },
    `${GFID} 00000001 00000007 00000000 00000001 64000000 00000000`,
  )
  travels(CBK.EVENT_NOTIFY.request, { op: 3, dict: new Map() }, '00000003 00000004 00000000')
  for (const empty of [CBK.INO_FLUSH, CBK.CHILD_UP, CBK.CHILD_DOWN, CBK.GET_SNAPS]) {
    assert.equal(empty.request, nothing)
  }
})

test('handshake and portmap', () => {
  travels(
    HANDSHAKE.EVENT_NOTIFY.reply,
    { op_ret: -1, op_errno: 22, dict: undefined },
    'ffffffff 00000016 00000000',
  )
  travels(PORTMAP.BRICKBYPORT.request, { port: 49152 }, '0000c000')
  travels(
    PORTMAP.BRICKBYPORT.reply,
    { op_ret: 0, op_errno: 0, status: 0, brick: '/d/b0' },
    '00000000 00000000 00000000 00000005 2f642f62 30000000',
  )
})
