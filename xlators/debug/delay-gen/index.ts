/** debug/delay-gen: holds fops up, to try out applications. */
import { clock } from '../../../src/core/clock.ts'
import type { FopName, MaybePromise, Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator } from '../../../src/core/xlator.ts'
import { EveryFop, parseFops } from '../every-fop.ts'

export const options = defineOptions({
  'delay-percentage': {
    type: 'percent',
    default: '10',
    description: 'How many of the fops are held up, percent.',
  },
  'delay-duration': {
    type: 'int',
    default: '100000',
    min: 0,
    max: 0x7fffffff,
    description: 'For how long, microseconds.',
  },
  enable: {
    type: 'str',
    default: '',
    description: 'Which fops may be held up, comma-separated; nothing means all.',
  },
})

export class DelayGen extends EveryFop<typeof options> {
  #fops: ReadonlySet<FopName> = new Set()

  override init(): void {
    this.#fops = parseFops('enable', this.options.enable)
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    this.#fops = parseFops('enable', values.enable)
    super.reconfigure(values)
  }

  protected override meet(
    _frame: Frame,
    fop: FopName,
    go: () => MaybePromise<Rep<FopName>>,
  ): MaybePromise<Rep<FopName>> {
    const { 'delay-percentage': percent, 'delay-duration': us } = this.options
    if (!this.#fops.has(fop) || clock.random() * 100 >= percent) return go()
    return new Promise((resolve) => void clock.after(us / 1000, () => resolve(go())))
  }
}

export default defineXlator({ type: 'debug/delay-gen', class: DelayGen, options, children: 1 })
