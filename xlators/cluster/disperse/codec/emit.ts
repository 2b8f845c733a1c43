/**
 * Makes the WebAssembly of the codec: one function per output chunk, straight-line v128 XORs inside
 * a loop over the stripes of a block. Bytes as in the binary format of the WebAssembly core
 * specification, with the SIMD instructions (prefix 0xfd).
 *
 * A lane is 16 bytes of each of the 8 planes of a chunk, 128 symbols; 4 lanes make a chunk.
 */
import { PLANES, type XorProgram, xorProgram } from './xor-program.ts'

const PLANE_SIZE = 64
const LANE_SIZE = 16
const LANES = PLANE_SIZE / LANE_SIZE

const I32 = 0x7f
const V128 = 0x7b

/** How one output chunk comes from the input chunks. */
export type RowSum =
  /** Σ point^(K-1-j)·chunk(j), by Horner's scheme. */
  | { kind: 'horner'; point: number; inputCount: number }
  /** Σ coefficients[j]·chunk(j). */
  | { kind: 'linear'; coefficients: readonly number[] }

export interface RowLayout {
  /** Memory address of input chunk `index` of the first stripe. */
  inputAt: (index: number) => number
  /** Distance of the same chunk in the next stripe. */
  inputStep: number
  outputStep: number
}

/**
 * A module exporting `row0`, `row1` …, each `(out: i32, stripes: i32)`: writes its chunk of
 * `stripes` (1 or more) stripes from `out` on. Imports the memory `m.m`.
 */
export function emitModule(rows: readonly RowSum[], layout: RowLayout): Uint8Array<ArrayBuffer> {
  const typeSection = [1, 0x60, 2, I32, I32, 0]
  const importSection = [1, ...name('m'), ...name('m'), 0x02, 0x00, 1]
  const functionSection = [...u32(rows.length), ...rows.map(() => 0)]
  const exportSection = [...u32(rows.length)]
  rows.forEach((_, index) => {
    exportSection.push(...name(`row${index}`), 0x00, ...u32(index))
  })
  const codeSection = [...u32(rows.length)]
  for (const row of rows) {
    const body = new RowEmitter(row, layout).body()
    codeSection.push(...u32(body.length))
    for (const byte of body) codeSection.push(byte)
  }
  const bytes = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
  const sections: [number, number[]][] = [
    [1, typeSection],
    [2, importSection],
    [3, functionSection],
    [7, exportSection],
    [10, codeSection],
  ]
  for (const [id, content] of sections) {
    bytes.push(id, ...u32(content.length))
    for (const byte of content) bytes.push(byte)
  }
  return Uint8Array.from(bytes)
}

function u32(value: number): number[] {
  const bytes: number[] = []
  do {
    const low = value & 0x7f
    value >>>= 7
    bytes.push(value === 0 ? low : low | 0x80)
  } while (value !== 0)
  return bytes
}

function s32(value: number): number[] {
  const bytes: number[] = []
  for (;;) {
    const low = value & 0x7f
    value >>= 7
    const done = (value === 0 && (low & 0x40) === 0) || (value === -1 && (low & 0x40) !== 0)
    bytes.push(done ? low : low | 0x80)
    if (done) return bytes
  }
}

function name(text: string): number[] {
  return [...u32(text.length), ...Buffer.from(text, 'latin1')]
}

// Locals: the two parameters, then these.
const OUT = 0
const STRIPES = 1
const IN = 2
const LANE = 3
const TERM = 4
const NEXT = 5
const FIRST_VECTOR = 6

const LOOP_VOID = [0x03, 0x40]

class RowEmitter {
  readonly #code: number[] = []
  readonly #row: RowSum
  readonly #layout: RowLayout
  #vectorCount = 0
  #vectorMax = 0

  constructor(row: RowSum, layout: RowLayout) {
    this.#row = row
    this.#layout = layout
  }

  body(): number[] {
    const { inputStep, outputStep } = this.#layout
    this.#put(...LOOP_VOID)
    this.#put(0x41, ...s32(LANES), 0x21, LANE)
    this.#put(...LOOP_VOID)
    this.#storeAll(this.#row.kind === 'horner' ? this.#horner() : this.#linear())
    this.#add(IN, LANE_SIZE)
    this.#add(OUT, LANE_SIZE)
    this.#countDown(LANE)
    this.#add(IN, inputStep - PLANE_SIZE)
    this.#add(OUT, outputStep - PLANE_SIZE)
    this.#countDown(STRIPES)
    const locals = [2, ...u32(4), I32, ...u32(this.#vectorMax), V128]
    return [...locals, ...this.#code, 0x0b]
  }

  /**
   * acc = chunk 0; then acc = point·acc + chunk j for the others, as a loop: unrolled, V8 orders
   * all loads before the XORs and spills most registers (a third slower).
   */
  #horner(): number[] {
    const row = this.#row as Extract<RowSum, { kind: 'horner' }>
    const program = xorProgram(row.point)
    const step = this.#layout.inputAt(1) - this.#layout.inputAt(0)
    const sum = this.#loadChunk(0, IN)
    this.#put(0x41, ...s32(row.inputCount - 1), 0x21, TERM)
    this.#put(0x20, IN, 0x21, NEXT)
    this.#put(...LOOP_VOID)
    this.#add(NEXT, step)
    const scaled = this.#run(program, sum)
    const next = scaled.map((local, plane) => {
      this.#local(0x20, local)
      this.#load(0, plane, NEXT)
      this.#xor()
      return this.#setNew()
    })
    next.forEach((local, plane) => {
      this.#move(sum[plane]!, local)
    })
    this.#countDown(TERM)
    return sum
  }

  /**
   * Each term sits in a block that is skipped when STRIPES is 0, which it never is: the branch
   * keeps V8 from mixing the terms and spilling for it.
   */
  #linear(): number[] {
    const row = this.#row as Extract<RowSum, { kind: 'linear' }>
    let sum: number[] | undefined
    let sumEnd = 0
    row.coefficients.forEach((coefficient, j) => {
      if (coefficient === 0) return
      const program = xorProgram(coefficient)
      if (sum === undefined) {
        sum = this.#run(program, this.#loadChunk(j, IN)).map((local) => {
          this.#local(0x20, local)
          return this.#setNew()
        })
        sumEnd = this.#vectorCount
        return
      }
      // The last term's locals are free again: many locals make compiling slow.
      this.#vectorCount = sumEnd
      this.#put(0x02, 0x40, 0x20, STRIPES, 0x45, 0x0d, 0)
      const term = this.#run(program, this.#loadChunk(j, IN))
      for (let plane = 0; plane < PLANES; plane++) {
        this.#move(sum[plane]!, this.#xorOf(sum[plane]!, term[plane]!))
      }
      this.#put(0x0b)
    })
    // A decode row is never all zero: the matrix is regular.
    return sum!
  }

  #run(program: XorProgram, inputs: readonly number[]): number[] {
    const locals = [...inputs]
    for (const [a, b] of program.steps) locals.push(this.#xorOf(locals[a]!, locals[b]!))
    return program.outputs.map((value) => locals[value]!)
  }

  #loadChunk(index: number, base: number): number[] {
    const planes: number[] = []
    for (let plane = 0; plane < PLANES; plane++) {
      this.#load(index, plane, base)
      planes.push(this.#setNew())
    }
    return planes
  }

  #load(index: number, plane: number, base: number): void {
    const offset = this.#layout.inputAt(index) + plane * PLANE_SIZE
    this.#put(0x20, base, 0xfd, 0x00, 4, ...u32(offset))
  }

  #storeAll(planes: readonly number[]): void {
    planes.forEach((local, plane) => {
      this.#put(0x20, OUT, 0x20, ...u32(local), 0xfd, 0x0b, 4, ...u32(plane * PLANE_SIZE))
    })
  }

  #xorOf(a: number, b: number): number {
    this.#local(0x20, a)
    this.#local(0x20, b)
    this.#xor()
    return this.#setNew()
  }

  #xor(): void {
    this.#code.push(0xfd, 0x51)
  }

  /** Moves the stack's top to a local of its own. */
  #setNew(): number {
    const local = FIRST_VECTOR + this.#vectorCount++
    this.#vectorMax = Math.max(this.#vectorMax, this.#vectorCount)
    this.#local(0x21, local)
    return local
  }

  #move(to: number, from: number): void {
    this.#local(0x20, from)
    this.#local(0x21, to)
  }

  #add(local: number, amount: number): void {
    this.#put(0x20, local, 0x41, ...s32(amount), 0x6a, 0x21, local)
  }

  /** Ends a loop that runs until `local` has counted down to zero. */
  #countDown(local: number): void {
    this.#put(0x20, local, 0x41, 1, 0x6b, 0x22, local, 0x0d, 0, 0x0b)
  }

  #local(opcode: number, local: number): void {
    const code = this.#code
    code.push(opcode)
    if (local < 0x80) code.push(local)
    else code.push((local & 0x7f) | 0x80, local >> 7)
  }

  #put(...bytes: number[]): void {
    for (const byte of bytes) this.#code.push(byte)
  }
}
