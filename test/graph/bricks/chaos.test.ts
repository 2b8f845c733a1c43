/** Bricks lost and found under load, a round of each kind; more: `npm run soak -- chaos`. */
import { describe, test } from 'node:test'
import { Chaos, KINDS } from '../../lib/chaos.ts'
import { noDisk } from '../../lib/disk-store.ts'

describe('bricks lost and found under load', { skip: noDisk }, () => {
  for (const [shape, kind] of Object.entries(KINDS)) {
    test(shape, async () => {
      const chaos = await Chaos.make(7, kind)
      await chaos.kill()
      await chaos.lose()
      await chaos.end()
    })
  }
})
