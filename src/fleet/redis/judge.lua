-- ARGV: generation, cured.
if generation > 0 and generation == num(ARGV[3]) and slot.forced == '1' then
  if ARGV[4] == '1' then
    set('verdict', 'cured')
    set('vain', '0')
    set('paused', '0')
  elseif slot.verdict == 'open' then
    set('verdict', 'vain')
    pause()
  end
  keep(t)
end
return { 'ok', text(time), text(math.max(0, num(slot.paused) - now)) }
