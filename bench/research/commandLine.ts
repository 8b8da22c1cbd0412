/** How arguments on the command lines of the benchmarks are read. */
import { InvalidArgumentError } from 'commander'

/** A whole number from 1, of a command line. Throws what commander shows beside the option. */
export function wholeNumber(text: string): number {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError(`"${text}" is no positive whole number`)
  return value
}

/** Reads what stands between commas. */
export function list<T>(read: (text: string) => T): (text: string) => T[] {
  return (text) => text.split(',').map(read)
}
