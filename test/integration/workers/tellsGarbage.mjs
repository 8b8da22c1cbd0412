#!/usr/bin/env node
import { serve, wellBehaved } from './base.mjs'

serve({ ...wellBehaved, events: (response) => response.write('{"type": "gossip"}\n') })
