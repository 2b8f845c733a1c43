/** cluster/distribute: passes every fop through. */
import { defineOptions } from '../../../src/core/options.ts'
import { defineXlator, Xlator } from '../../../src/core/xlator.ts'

export const options = defineOptions({})

export class Distribute extends Xlator<typeof options> {}

export default defineXlator({
  type: 'cluster/distribute',
  class: Distribute,
  options,
  children: { min: 1, max: 65536 },
})
