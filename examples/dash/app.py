"""A chart with a slider, with Dash.

    hostler --chdir examples/dash app:server
"""

import math

from dash import Dash, Input, Output, dcc, html

app = Dash(__name__, title="Waves")
server = app.server
app.layout = html.Main(
    [html.H1("Waves"), dcc.Slider(1, 10, 1, value=2, id="waves"), html.P(id="said"), dcc.Graph(id="chart")],
)


@app.callback(Output("chart", "figure"), Output("said", "children"), Input("waves", "value"))
def draw(waves):
    x = [i / 100 for i in range(101)]
    y = [math.sin(2 * math.pi * waves * v) for v in x]
    return {"data": [{"x": x, "y": y, "type": "scatter"}], "layout": {"yaxis": {"range": [-1, 1]}}}, "%d waves" % waves
