export const measureLedger = async () => undefined
export const measureRestart = async () => undefined
