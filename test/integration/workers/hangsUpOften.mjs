#!/usr/bin/env node
import { serve, wellBehaved } from './base.mjs'

serve({
  ...wellBehaved,
  events(response) {
    wellBehaved.events(response)
    setTimeout(() => response.destroy(), 30)
  },
})
