/**
 * The syscall matrix on dispersed volumes, with all bricks there and with as many missing as may
 * be.
 */
import assert from 'node:assert/strict'
import { enterSandbox, Volume } from '../lib/sandbox.ts'
import { matrixOn } from './matrix/two-volumes.ts'

const skip = await enterSandbox(import.meta.url)

/**
 * DISPERSE_SHAPES=4+2 runs one. Also meant to be run with 4+2, 2x4+2 and 8+3, which take minutes
 * each and teach little beyond these two.
 */
const shapes = process.env.DISPERSE_SHAPES?.split(',') ?? ['2+1', '4+2 degraded']

const KNOWN = [
  { at: /\bblocks$/, why: 'stock adds up the blocks of directories and links on all bricks' },
  { at: /pathinfo$/, why: 'stock answers ENOMEM' },
  { at: /^open-file-locks\//, why: 'stock finds a conflict of a file with itself' },
  { at: /^zero-range\/grown/, why: 'stock allocates instead of zeroing' },
]

function shapeOf(shape: string): { copies: number; data: number; redundancy: number } {
  const match = /^(?:(\d+)x)?(\d+)\+(\d+)/.exec(shape)
  assert.ok(match !== null, `shape ${shape}`)
  return { copies: Number(match[1] ?? 1), data: Number(match[2]), redundancy: Number(match[3]) }
}

for (const shape of shapes) {
  const { copies, data, redundancy } = shapeOf(shape)
  const layout = ['disperse-data', String(data), 'redundancy', String(redundancy)]
  const bricks = copies * (data + redundancy)
  const degrade = async (volume: Volume): Promise<void> => {
    for (let i = 0; i < redundancy; i++) await volume.killBrick(2 * i + 1)
  }
  const kind = { shape, create: (name: string) => Volume.create(name, { bricks, layout }) }
  const lost = shape.endsWith('degraded') ? { degrade } : {}
  matrixOn({ ...kind, ...lost, known: KNOWN }, skip)
}
