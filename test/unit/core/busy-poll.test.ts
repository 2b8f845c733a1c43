/** When the event loop is kept awake for the next message. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BusyPoll } from '../../../src/core/busy-poll.ts'
import { type Clock, clock, setClock } from '../../../src/core/clock.ts'

const system = clock
let now = 1000

/** `count` messages, each `gap` ms after what was before. */
function receive(poll: BusyPoll, count: number, gap: number): void {
  for (let i = 0; i < count; i++) {
    now += gap
    poll.arrived()
  }
}

let offers = 0

function polling(window: number): BusyPoll {
  const poll = new BusyPoll()
  poll.begin(window, () => offers++)
  return poll
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('busy polling', () => {
  before(() => {
    const stepped: Clock = Object.create(system, { now: { value: () => now } })
    setClock(stepped)
  })
  after(() => setClock(system))

  test('begins after 16 messages that came in time, and ends when none comes for the time', async () => {
    const poll = polling(200)
    receive(poll, 16, 0.1)
    assert.equal(poll.polling, false, 'the first one follows none')
    receive(poll, 1, 0.1)
    assert.equal(poll.polling, true)
    now += 0.19
    const before = offers
    await turn()
    await turn()
    assert.equal(poll.polling, true)
    assert.ok(offers > before, 'the processor was offered to others')
    now += 0.02
    await turn()
    await turn()
    assert.equal(poll.polling, false)
  })

  test('what went out prolongs it, and begins it again', async () => {
    const poll = polling(200)
    receive(poll, 20, 0.1)
    now += 0.15
    poll.sent()
    now += 0.15
    await turn()
    assert.equal(poll.polling, true)
    now += 1
    await turn()
    await turn()
    assert.equal(poll.polling, false)
    poll.sent()
    assert.equal(poll.polling, true)
    now += 1
    await turn()
    await turn()
  })

  test('messages that come late end the trust; those that came at once say nothing', async () => {
    const poll = polling(200)
    receive(poll, 17, 0.1)
    receive(poll, 1000, 0.001)
    receive(poll, 1, 5)
    await turn()
    await turn()
    now += 5
    await turn()
    assert.equal(poll.polling, false)
    receive(poll, 1000, 0.001)
    poll.sent()
    assert.equal(poll.polling, false)
    receive(poll, 100, 0.1)
    receive(poll, 40, 5)
    now += 5
    await turn()
    await turn()
    receive(poll, 15, 0.1)
    assert.equal(poll.polling, false, 'no trust was left')
  })

  test('a request every millisecond never gets there', () => {
    const poll = polling(200)
    for (let i = 0; i < 500; i++) {
      receive(poll, 1, 1)
      poll.sent()
      receive(poll, 1, 0.1)
    }
    assert.equal(poll.polling, false)
  })

  test('0 us is never, and so is before its beginning', () => {
    const idle = new BusyPoll()
    receive(idle, 100, 0.05)
    assert.equal(idle.polling, false)
    const poll = polling(0)
    receive(poll, 100, 0.05)
    poll.sent()
    assert.equal(poll.polling, false)
  })
})
