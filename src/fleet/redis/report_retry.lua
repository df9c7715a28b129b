-- ARGV: generation, effective.
if generation > 0 and generation == num(ARGV[3]) and slot.forced == '1' then
  if ARGV[4] == '1' then
    set('effect', 'effective')
    set('ineffective', '0')
    set('paused', '0')
  elseif slot.effect == 'pending' then
    set('effect', 'ineffective')
    pause()
  end
  keep(t)
end
return { 'ok', text(time), text(math.max(0, num(slot.paused) - now)) }
