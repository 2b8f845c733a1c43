/** Tests of one translator, each over a scripted child of its own and on a manual clock. */
import test from 'node:test'
import type { XlatorDefinition } from '../../src/core/xlator.ts'
import { type ManualClock, withManualClock } from './manual-clock.ts'
import { type Bench, bench, type ScriptedChild } from './scripted.ts'

export interface Bed {
  readonly b: Bench
  readonly child: ScriptedChild
  readonly manual: ManualClock
}

type Body<S> = (s: S) => Promise<void>

/** Gives what declares a test: `prepare` scripts the child and adds what the bodies need. */
export function testsOf<S extends Bed>(
  definition: XlatorDefinition,
  prepare: (bed: Bed) => S,
): (name: string, given: Record<string, string>, body: Body<S>) => void {
  return (name, given, body) => {
    test(name, () =>
      withManualClock(async (manual) => {
        const b = await bench(definition, given)
        const s = prepare({ b, child: b.child as ScriptedChild, manual })
        manual.pass(1)
        await body(s)
      }),
    )
  }
}
