/** What our writes leave on bricks, against what the stock client left there. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import type { Fd } from '../../../../src/core/fd.ts'
import { FALLOC_FL_KEEP_SIZE } from '../../../../src/core/fop.ts'
import { type DisperseGraph, disperseGraph, letGo } from '../../../lib/disperse-graph.ts'
import { vectorBytes, vectorJson } from '../../../lib/ec-vectors.ts'

interface Step {
  n: number
  do: {
    op: string
    seed: number
    length: number
    offset: number
    size: number
    keep_size?: boolean
  }
  size: number
  content_sha256: string
  fragments: { length: number; sha256: string; xattr: Record<string, string> }[]
}

const CONFIGS = ['2+1', '3+1', '3+2', '4+1', '4+2', '8+3', '16+4']

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

async function apply(volume: DisperseGraph, fd: Fd, step: Step['do'], size: number): Promise<void> {
  const { bench, mount } = volume
  switch (step.op) {
    case 'create':
    case 'write':
    case 'append': {
      const offset = step.op === 'append' ? size : (step.offset ?? 0)
      assert.equal(await mount.write(fd, offset, vectorBytes(step.seed, step.length)), 0)
      return
    }
    case 'fallocate': {
      const mode = step.keep_size === true ? FALLOC_FL_KEEP_SIZE : 0
      await bench.ok('fallocate', { fd, mode, offset: step.offset, len: step.length })
      return
    }
    case 'punch':
      await bench.ok('discard', { fd, offset: step.offset, len: step.length })
      return
    default:
      throw new Error(`unknown step ${step.op}`)
  }
}

async function open({ mount }: DisperseGraph): Promise<Fd> {
  const fd = await mount.open('f')
  assert.ok(typeof fd !== 'number', `open: ${String(fd)}`)
  return fd
}

function checkBricks({ bricks }: DisperseGraph, step: Step): void {
  let firstVersion: string | undefined
  step.fragments.forEach((expected, brick) => {
    const node = bricks[brick]!.store.at('/f')!
    const what = `step ${step.n} (${step.do.op}), brick ${brick}`
    assert.equal(node.data.length, expected.length, `${what}: length`)
    assert.equal(sha256(node.data), expected.sha256, `${what}: content`)
    const xattrs = Object.fromEntries(
      [...node.xattrs]
        .filter(([key]) => key.startsWith('trusted.ec.'))
        .map(([key, value]) => [key, value.toString('hex')]),
    )
    // Long writes reached the stock client in parts, each of which it counted.
    if (step.fragments.length > 6) {
      firstVersion ??= xattrs['trusted.ec.version']
      assert.equal(xattrs['trusted.ec.version'], firstVersion)
      xattrs['trusted.ec.version'] = expected.xattr['trusted.ec.version']!
    }
    assert.deepEqual(xattrs, expected.xattr, `${what}: xattrs`)
  })
}

for (const config of CONFIGS) {
  void test(`${config}: the sequence of the vectors leaves the same bricks`, async () => {
    const [dataCount, redundancy] = config.split('+').map(Number)
    const volume = await disperseGraph(dataCount!, redundancy!)
    const { steps } = vectorJson<{ steps: Step[] }>(`${config}/seq.json`)
    const created = await volume.mount.create('f')
    assert.ok(typeof created !== 'number')
    await volume.mount.close(created)
    let size = 0
    for (const step of steps) {
      if (step.do.op === 'truncate') {
        // As truncate(2) did: no file is open, so nothing flushes.
        await volume.bench.ok('truncate', { loc: volume.mount.loc('f'), offset: step.do.size })
      } else {
        const fd = await open(volume)
        await apply(volume, fd, step.do, size)
        await volume.mount.close(fd)
      }
      await letGo(volume)
      const fd = await open(volume)
      const content = await volume.mount.read(fd, 0, step.size + 10)
      assert.ok(typeof content !== 'number')
      assert.equal(sha256(content), step.content_sha256, `step ${step.n}: content`)
      await volume.mount.close(fd)
      await letGo(volume)
      checkBricks(volume, step)
      const found = await volume.mount.lookup('f')
      assert.equal(found.errno, 0)
      assert.equal(found.errno === 0 && found.stat.size, step.size)
      size = step.size
    }
  })
}
