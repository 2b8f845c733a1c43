import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ChildStates } from '../../../../xlators/cluster/distribute/events.ts'

describe('cluster/distribute: what parents hear of subvolumes', () => {
  test('nothing before each is up or down; connecting is neither', () => {
    const states = new ChildStates(3)
    for (const i of [0, 1, 2]) assert.equal(states.report(i, 'connecting'), undefined)
    assert.equal(states.report(1, 'up'), undefined)
    assert.equal(states.report(0, 'down'), undefined)
    assert.equal(states.complete, false)
    assert.deepEqual(states.report(2, 'up'), { type: 'child-up' })
    assert.deepEqual(states.report(0, 'up'), { type: 'some-descendent-up' })
  })

  test('who waits no longer takes the silent for down', () => {
    const states = new ChildStates(2)
    states.report(0, 'up')
    states.report(1, 'connecting')
    assert.deepEqual(states.waitNoLonger(), { type: 'child-up' })
    assert.equal(states.waitNoLonger(), undefined)
    assert.deepEqual(states.report(1, 'up'), { type: 'some-descendent-up' })
    assert.deepEqual(new ChildStates(2).waitNoLonger(), { type: 'child-down' })
  })

  test('the last one down takes the volume down, the first one up brings it back', () => {
    const states = new ChildStates(2)
    states.report(0, 'up')
    states.report(1, 'up')
    assert.deepEqual(states.report(0, 'down'), { type: 'some-descendent-down' })
    assert.deepEqual(states.report(1, 'down'), { type: 'child-down' })
    assert.deepEqual(states.report(1, 'connecting'), { type: 'child-connecting' })
    assert.deepEqual(states.report(1, 'up'), { type: 'child-up' })
  })
})
