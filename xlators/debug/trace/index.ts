/** debug/trace: with log-file, a line in the log for every fop: what it is about and its result. */

import { errnoName } from '../../../src/core/errno.ts'
import type { FopName, MaybePromise, Rep } from '../../../src/core/fop.ts'
import type { Frame } from '../../../src/core/frame.ts'
import { defineOptions, type OptionValues } from '../../../src/core/options.ts'
import { defineXlator } from '../../../src/core/xlator.ts'
import { pathsOf } from '../../../src/observe/pending.ts'
import { look } from '../../performance/look.ts'
import { EveryFop, parseFops } from '../every-fop.ts'

const NO_HISTORY = 'no event history is kept'
const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARNING', 'ERROR'] as const
const METHODS = { TRACE: 'trace', DEBUG: 'debug', INFO: 'info', WARNING: 'warn', ERROR: 'error' }

export const options = defineOptions({
  'log-file': { type: 'bool', default: 'off', description: 'Log the fops.' },
  'log-history': {
    type: 'bool',
    default: 'off',
    description: 'Keep the last fops in memory.',
    noEffect: NO_HISTORY,
  },
  'history-size': {
    type: 'int',
    default: '1024',
    description: 'How many.',
    noEffect: NO_HISTORY,
  },
  'include-ops': {
    type: 'str',
    default: '',
    alias: ['include'],
    description: 'These fops only, comma-separated.',
  },
  'exclude-ops': {
    type: 'str',
    default: '',
    alias: ['exclude'],
    description: 'Not these fops, comma-separated.',
  },
  'force-log-level': {
    type: 'str',
    default: 'INFO',
    values: LEVELS,
    description: 'Level of the lines.',
  },
})

export class Trace extends EveryFop<typeof options> {
  #fops: ReadonlySet<FopName> = new Set()

  override init(): void {
    this.#fops = chosen(this.options)
  }

  override reconfigure(values: OptionValues<typeof options>): void {
    this.#fops = chosen(values)
    super.reconfigure(values)
  }

  protected override meet(
    frame: Frame,
    fop: FopName,
    go: () => MaybePromise<Rep<FopName>>,
  ): MaybePromise<Rep<FopName>> {
    if (!this.options['log-file'] || !this.#fops.has(fop)) return go()
    const { stack } = frame
    const method = METHODS[this.options['force-log-level'] as (typeof LEVELS)[number]] as 'info'
    return look(go(), (rep) => {
      const result = rep.errno === 0 ? 'done' : errnoName(rep.errno)
      this.log[method]({ unique: stack.unique }, `${fop} ${pathsOf(stack).join(' ')}: ${result}`)
      return rep
    })
  }
}

function chosen(values: OptionValues<typeof options>): ReadonlySet<FopName> {
  const fops = new Set(parseFops('include-ops', values['include-ops']))
  const excluded = values['exclude-ops']
  if (excluded !== '') for (const fop of parseFops('exclude-ops', excluded)) fops.delete(fop)
  return fops
}

export default defineXlator({ type: 'debug/trace', class: Trace, options, children: 1 })
