# A Rack application that says which worker answered.
run(lambda do |_env|
  body = "pid #{Process.pid}\n"
  [200, { "Content-Type" => "text/plain", "Content-Length" => body.bytesize.to_s }, [body]]
end)
