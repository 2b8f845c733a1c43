/**
 * Makes the WebAssembly of the codec: straight-line v128 XORs inside loops over the lanes and the
 * stripes of a block. Bytes as in the binary format of the WebAssembly core specification, with
 * the SIMD instructions (prefix 0xfd).
 *
 * A lane is 16 bytes of each of the 8 planes of a chunk, 128 symbols; 4 lanes make a chunk. All
 * rows of a function are computed for one lane before the next, so that the input is loaded from
 * the level 1 cache: loads, two a cycle, are what limits the speed.
 */
import { PLANES, type XorProgram, xorProgram } from './xor-program.ts'

const PLANE_SIZE = 64
const LANE_SIZE = 16
const LANES = PLANE_SIZE / LANE_SIZE
/** Multiplications in one function: many rows together are faster, long functions slower. */
const TERMS_MAX = 48
/** Inputs up to which Horner's scheme is unrolled (a tenth faster, until the code is too long). */
const UNROLLED_MAX = 8

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

/** Rows of each function of the module for `rows`. */
export function groupRows(rows: readonly RowSum[]): RowSum[][] {
  const groups: RowSum[][] = []
  let terms = Number.POSITIVE_INFINITY
  for (const row of rows) {
    const count = row.kind === 'horner' ? row.inputCount : row.coefficients.length
    terms += count
    if (terms > TERMS_MAX) {
      groups.push([])
      terms = count
    }
    groups.at(-1)!.push(row)
  }
  return groups
}

/**
 * A module exporting `rows0`, `rows1` …, one for each of `groupRows(rows)`, each
 * `(out: i32, rowStride: i32, stripes: i32)`: writes the chunks of `stripes` (1 or more) stripes,
 * those of its first row from `out` on, of the next from `out + rowStride`. Imports the memory
 * `m.m`.
 */
export function emitModule(rows: readonly RowSum[], layout: RowLayout): Uint8Array<ArrayBuffer> {
  const groups = groupRows(rows)
  const typeSection = [1, 0x60, 3, I32, I32, I32, 0]
  const importSection = [1, ...name('m'), ...name('m'), 0x02, 0x00, 1]
  const functionSection = [...u32(groups.length), ...groups.map(() => 0)]
  const exportSection = [...u32(groups.length)]
  groups.forEach((_, index) => {
    exportSection.push(...name(`rows${index}`), 0x00, ...u32(index))
  })
  const codeSection = [...u32(groups.length)]
  for (const group of groups) {
    const body = new RowsEmitter(group, layout).body()
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

// Locals: the three parameters, then these.
const OUT = 0
const ROW_STRIDE = 1
const STRIPES = 2
const IN = 3
const LANE = 4
const TERM = 5
const NEXT = 6
/** Where the row being computed goes. */
const ROW_OUT = 7
const FIRST_VECTOR = 8

const LOOP_VOID = [0x03, 0x40]

type Horner = Extract<RowSum, { kind: 'horner' }>
type Linear = Extract<RowSum, { kind: 'linear' }>

class RowsEmitter {
  readonly #code: number[] = []
  readonly #rows: readonly RowSum[]
  readonly #layout: RowLayout
  #vectorCount = 0
  #vectorMax = 0

  constructor(rows: readonly RowSum[], layout: RowLayout) {
    this.#rows = rows
    this.#layout = layout
  }

  body(): number[] {
    const { inputStep, outputStep } = this.#layout
    this.#put(...LOOP_VOID)
    this.#put(0x41, ...s32(LANES), 0x21, LANE)
    this.#put(...LOOP_VOID)
    this.#rows.forEach((row, index) => {
      if (index === 0) this.#put(0x20, OUT, 0x21, ROW_OUT)
      else this.#put(0x20, ROW_OUT, 0x20, ROW_STRIDE, 0x6a, 0x21, ROW_OUT)
      // The last row's locals are free again: many locals make compiling slow.
      this.#vectorCount = 0
      this.#storeAll(this.#sum(row))
    })
    this.#add(IN, LANE_SIZE)
    this.#add(OUT, LANE_SIZE)
    this.#countDown(LANE)
    this.#add(IN, inputStep - PLANE_SIZE)
    this.#add(OUT, outputStep - PLANE_SIZE)
    this.#countDown(STRIPES)
    const locals = [2, ...u32(FIRST_VECTOR - IN), I32, ...u32(this.#vectorMax), V128]
    return [...locals, ...this.#code, 0x0b]
  }

  #sum(row: RowSum): number[] {
    if (row.kind === 'linear') return this.#linear(row)
    return row.inputCount <= UNROLLED_MAX ? this.#unrolled(row) : this.#horner(row)
  }

  /** acc = chunk 0; then acc = point·acc + chunk j for the others, as a loop. */
  #horner(row: Horner): number[] {
    const program = xorProgram(row.point)
    const step = this.#layout.inputAt(1) - this.#layout.inputAt(0)
    const sum = this.#loadChunk(0, IN)
    this.#put(0x41, ...s32(row.inputCount - 1), 0x21, TERM)
    this.#put(0x20, IN, 0x21, NEXT)
    this.#put(...LOOP_VOID)
    this.#add(NEXT, step)
    const scaled = this.#run(program, sum)
    this.#moveAll(sum, this.#plusChunk(scaled, 0, NEXT))
    this.#countDown(TERM)
    return sum
  }

  #unrolled(row: Horner): number[] {
    const program = xorProgram(row.point)
    const sum = this.#loadChunk(0, IN)
    for (let j = 1; j < row.inputCount; j++) {
      this.#apart(() => {
        this.#moveAll(sum, this.#plusChunk(this.#run(program, sum), j, IN))
      })
    }
    return sum
  }

  #linear(row: Linear): number[] {
    let sum: number[] | undefined
    row.coefficients.forEach((coefficient, j) => {
      if (coefficient === 0) return
      const program = xorProgram(coefficient)
      if (sum === undefined) {
        sum = this.#run(program, this.#loadChunk(j, IN)).map((local) => {
          this.#local(0x20, local)
          return this.#setNew()
        })
        return
      }
      const acc = sum
      this.#apart(() => {
        const term = this.#run(program, this.#loadChunk(j, IN))
        for (let plane = 0; plane < PLANES; plane++) {
          this.#move(acc[plane]!, this.#xorOf(acc[plane]!, term[plane]!))
        }
      })
    })
    // A decode row is never all zero: the matrix is regular.
    return sum!
  }

  /**
   * Puts a term in a block that is skipped when STRIPES is 0, which it never is: the branch keeps
   * V8 from ordering the loads of all terms before their XORs, and spilling for it.
   */
  #apart(term: () => void): void {
    const used = this.#vectorCount
    this.#put(0x02, 0x40, 0x20, STRIPES, 0x45, 0x0d, 0)
    term()
    this.#put(0x0b)
    this.#vectorCount = used
  }

  #run(program: XorProgram, inputs: readonly number[]): number[] {
    const locals = [...inputs]
    for (const [a, b] of program.steps) locals.push(this.#xorOf(locals[a]!, locals[b]!))
    return program.outputs.map((value) => locals[value]!)
  }

  /** Adds input chunk `index` to `planes`. */
  #plusChunk(planes: readonly number[], index: number, base: number): number[] {
    return planes.map((local, plane) => {
      this.#local(0x20, local)
      this.#load(index, plane, base)
      this.#xor()
      return this.#setNew()
    })
  }

  #moveAll(to: readonly number[], from: readonly number[]): void {
    to.forEach((local, plane) => {
      this.#move(local, from[plane]!)
    })
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
      this.#put(0x20, ROW_OUT, 0x20, ...u32(local), 0xfd, 0x0b, 4, ...u32(plane * PLANE_SIZE))
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
