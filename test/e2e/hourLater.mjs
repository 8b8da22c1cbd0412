/**
 * Has an hour pass at once for a program of Node, for rules that take an hour: loaded before it by NODE_OPTIONS=--import, and
 * from when the file exists that HOUR_LATER names.
 */
import { existsSync } from 'node:fs'

const HOUR_MS = 3_600_000
const file = process.env.HOUR_LATER ?? ''
const later = () => (existsSync(file) ? HOUR_MS : 0)

const [wall, monotonic] = [Date.now.bind(Date), performance.now.bind(performance)]
Date.now = () => wall() + later()
performance.now = () => monotonic() + later()
