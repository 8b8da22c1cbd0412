#!/usr/bin/env node
import { serve, wellBehaved } from './base.mjs'

// One line without end: the reader must give up and not run out of memory.
serve({ ...wellBehaved, events: (response) => setInterval(() => response.write('x'.repeat(1 << 20)), 5) })
