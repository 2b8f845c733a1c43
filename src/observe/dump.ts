/** Where translators write their private state; the state dump and `.meta` format it. */
export interface DumpSink {
  /** Starts a section; its pairs follow. */
  section(name: string): void
  pair(key: string, value: string | number | bigint | boolean): void
}
