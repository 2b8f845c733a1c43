/**
 * The matrix in a process of its own, so that a mount that hangs cannot take the tests with it:
 * `run.js matrix DIR [CASE...]` runs the cases below DIR, `run.js tree DIR` describes what is
 * there, `run.js bricks DIR...` the same behind the file system's back. JSON on stdout.
 */
import { writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Peer } from '../../lib/peer.ts'
import * as sys from '../../lib/syscalls.ts'
import { brickTrees } from './bricks.ts'
import { type Case, Context, type Results } from './case.ts'
import { cases as fileCases } from './files.ts'
import { cases as metadataCases } from './metadata.ts'
import { cases as nameCases } from './names.ts'
import { cases as renameCases } from './rename.ts'
import { cases as sharingCases } from './sharing.ts'
import { cases as sparseCases } from './sparse.ts'
import { tree } from './tree.ts'

export const cases: Case[] = [
  ...fileCases,
  ...sparseCases,
  ...nameCases,
  ...renameCases,
  ...metadataCases,
  ...sharingCases,
]

async function matrix(dir: string, only: string[]): Promise<Results> {
  sys.umask(0o022)
  const peer = new Peer()
  const results: Results = {}
  for (const { name, run } of cases) {
    if (only.length > 0 && !only.includes(name)) continue
    sys.must(sys.mkdir(`${dir}/${name}`), `mkdir ${name}`)
    const context = new Context(`${dir}/${name}`, peer)
    try {
      await run(context)
    } catch (error) {
      context.rec('failed', String(error))
    }
    results[name] = context.results
  }
  await peer.end()
  return results
}

async function main([what, ...args]: string[]): Promise<void> {
  const dir = args[0]!
  let answer: unknown
  if (what === 'matrix') answer = await matrix(dir, args.slice(1))
  else if (what === 'tree') answer = tree(dir)
  else if (what === 'bricks') answer = brickTrees(args)
  const text = Buffer.from(JSON.stringify(answer), 'latin1')
  for (let at = 0; at < text.length; ) at += writeSync(1, text, at)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2))
