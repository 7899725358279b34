// Follows one job until it has ended, also over a reload and while the worker does not answer for a moment.
import { status } from '/page/api.js'

const FINAL = ['COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT']
const EVERY_MS = 250
const UNSEEN_MS = 2000
const PATIENCE = 40

// Calls onChange with each status of the job, the last one included. Its `lost` says that the worker does not answer.
export async function follow(id, onChange) {
  let failures = 0
  for (;;) {
    try {
      const seen = await status(id)
      failures = 0
      onChange(seen)
      if (FINAL.includes(seen.status)) return
    } catch (error) {
      failures += 1
      if (error.status === 404 || failures > PATIENCE) {
        onChange({ id, status: 'FAILED', error: error.status === 404 ? gone : error.message })
        return
      }
      onChange({ id, status: 'IN_PROGRESS', lost: error.message })
    }
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? UNSEEN_MS : EVERY_MS * (failures + 1)))
  }
}

const gone = 'The worker has no such job any more: it keeps results for 30 minutes, and none over a restart.'
