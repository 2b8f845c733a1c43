import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ROOT_CREDS } from '../../../../../src/core/frame.ts'
import type { Log } from '../../../../../src/observe/log.ts'
import meta from '../../../../../xlators/meta/index.ts'
import { PendingWatch } from '../../../../../xlators/mount/fuse/watch.ts'
import { withManualClock } from '../../../../lib/manual-clock.ts'
import { bench, linked, locOf, type ScriptedChild } from '../../../../lib/scripted.ts'

test('a request that waits for 30 s is told once: its file, where it waits, for which brick', () =>
  withManualClock(async (clock) => {
    const b = await bench(meta)
    const child = b.child as ScriptedChild
    child.givenOptions = new Map([
      ['remote-host', 'node01'],
      ['remote-subvolume', '/b/0'],
    ])
    child.hold.add('stat')
    const lines: string[] = []
    const take = (level: string) => (_fields: unknown, text: string) =>
      void lines.push(`${level} ${text}`)
    const log = { warn: take('W'), info: take('I') } as unknown as Log
    const watch = new PendingWatch(b.graph.pool, log)
    watch.start()
    const begin = (type: string, name: string): void => {
      const frame = b.graph.pool.begin(b.graph.top, type, ROOT_CREDS)
      void frame.wind(b.xl, 'stat', { loc: locOf(linked(b.graph, name)) })
    }
    begin('GETATTR', 'slow')
    for (let i = 0; i < 5; i++) clock.pass(5000)
    assert.deepEqual(lines, [])
    begin('SETLKW', 'locked')
    clock.pass(5000)
    const where = 'has been waiting for 30 s in child (stat), for brick node01:/b/0'
    assert.deepEqual(lines, [`W GETATTR of /slow ${where}`])
    for (let i = 0; i < 20; i++) clock.pass(5000)
    assert.deepEqual(lines.slice(1), [`I SETLKW of /locked ${where}`])
    watch.stop()
    assert.equal(clock.nextDeadline(), Number.POSITIVE_INFINITY)
  }))
