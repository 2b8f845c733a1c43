/** `npm run bench [-- frames xdr ec fuse]`: what the inner parts cost on this machine. */
import { benchErasureCode } from './ec.ts'
import { benchWorker } from './ec-worker.ts'
import { benchFrames } from './frames.ts'
import { benchFuse } from './fuse.ts'
import { benchXdr, type Result } from './xdr.ts'

type Bench = () => Result[] | Promise<Result[]>

const benches: Record<string, Bench> = {
  frames: benchFrames,
  xdr: benchXdr,
  ec: async () => {
    // It prints a table of its own.
    benchErasureCode((line) => console.log(line))
    await benchWorker((line) => console.log(line))
    return []
  },
  fuse: async () => {
    // So does this one.
    await benchFuse()
    return []
  },
}

function print(results: readonly Result[]): void {
  const width = Math.max(0, ...results.map(({ name }) => name.length))
  for (const { name, unit, value } of results) {
    const digits = value < 100 ? 2 : 0
    console.log(`${name.padEnd(width)}  ${value.toFixed(digits).padStart(10)} ${unit}`)
  }
}

const wanted = process.argv.slice(2)
for (const [name, bench] of Object.entries(benches)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  console.log(`\n# ${name}`)
  print(await bench())
}
