import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { FuseRecorder } from '../../../src/fuse/recorder.ts'
import { withManualClock } from '../../lib/manual-clock.ts'

test('a record is what the stock client writes', () =>
  withManualClock(async () => {
    const directory = mkdtempSync(path.join(os.tmpdir(), 'recorder-'))
    try {
      const file = path.join(directory, 'dump')
      const recorder = new FuseRecorder(file)
      const message = Buffer.from('0800000003000000', 'hex')
      recorder.record('R', [message])
      recorder.record('W', [message.subarray(0, 4), message.subarray(4)])
      recorder.close()
      recorder.record('R', [message])
      // as seen: direction, 3 parts, 16 = time, 12 = GLUSTER\xf5, the message with its own length
      const rest =
        '03000000' + '10000000' + 'e803000000000000' + '00000000' + '0c000000' + '474c5553544552f5'
      const record = `${rest}0800000003000000`
      assert.equal(readFileSync(file).toString('hex'), `52${record}57${record}`)
      assert.equal(statSync(file).mode & 0o777, 0o600)
      assert.throws(() => new FuseRecorder(`${directory}/none/dump`), { code: 'BAD_VALUE' })
    } finally {
      rmSync(directory, { recursive: true })
    }
  }))
