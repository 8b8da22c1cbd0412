/** Names as Docker gives them. The same seed makes the same name, so that every run has the same host. */
import { createHash } from 'node:crypto'

/** "veth" and seven hexadecimal digits: the host's end of a container's interface. */
export function vethName(seed: string): string {
  return `veth${hash(seed, 7)}`
}

/** "br-" and twelve hexadecimal digits: a network, whose gateway address the host has. */
export function bridgeName(seed: string): string {
  return `br-${hash(seed, 12)}`
}

function hash(seed: string, digits: number): string {
  return createHash('sha256').update(seed).digest('hex').slice(0, digits)
}
