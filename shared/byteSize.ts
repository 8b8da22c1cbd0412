/** Amounts of memory as Go's GOMEMLIMIT and systemd's MemoryMax write them, but that the unit says which kilo is meant. */

const UNITS: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 }

/** Bytes of "512MiB"; 0 needs no unit. Null when it is no such amount, or more than a number can tell exactly. */
export function parseByteSize(text: string): number | null {
  if (text === '0') return 0
  const [, amount = '', unit = ''] = /^(\d+(?:\.\d+)?)\s?([KMGT]iB|B)$/.exec(text) ?? []
  const bytes = Math.round(Number(amount) * (UNITS[unit] ?? Number.NaN))
  return amount !== '' && Number.isSafeInteger(bytes) ? bytes : null
}
